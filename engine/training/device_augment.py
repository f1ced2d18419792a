"""What happens to a batch on its device: copied as uint8, flipped, normalised, in the model's memory format."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch

from gputrain.engine.config import RunConfig
from gputrain.engine.training.augment import flips
from gputrain.engine.training.batches import Batch
from gputrain.engine.training.device import Compute
from gputrain.engine.training.timing import Clock

# Mean and deviation of ImageNet's training images in 0…1, as torchvision's models expect them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(slots=True)
class DeviceBatch:
    """A batch on the device; images uint8 (N, 3, H, W), labels int64 (N,), flip bool (N, 1, 1, 1) or None."""

    images: torch.Tensor
    labels: torch.Tensor
    flip: torch.Tensor | None
    number: int
    copied: torch.cuda.Event | None
    bytes: int


class Feed:
    """Moves batches to the device, the next one while the present one is computed on."""

    def __init__(self, config: RunConfig, compute: Compute, *, train: bool) -> None:
        self._compute = compute
        self._seed = config.seed
        self._flip = train and config.data.augment in ("flip", "crop_flip")
        self._async = config.data.non_blocking and config.data.pin_memory
        self._format = torch.channels_last if config.speed.channels_last else torch.contiguous_format
        self._stream = torch.cuda.Stream(compute.device) if compute.is_gpu else None
        self._mean = (torch.tensor(MEAN) * 255).view(1, 3, 1, 1).to(compute.device)
        self._scale = (1 / (torch.tensor(STD) * 255)).view(1, 3, 1, 1).to(compute.device)

    def batches(self, source: Iterator[Batch], clock: Clock) -> Generator[DeviceBatch, None, None]:
        """The batches of `source` on the device; waiting for them is charged to `clock`'s data wait."""
        ready: DeviceBatch | None = None
        while True:
            with clock.waiting():
                batch = next(source, None)
            if batch is None:
                break
            moved = self._move(batch, clock)
            if self._stream is None:
                yield moved
                continue
            if ready is not None:
                yield ready
            # The loader may write into its host batch again once it is asked for the next one.
            assert moved.copied is not None
            moved.copied.synchronize()
            ready = moved
        if ready is not None:
            yield ready

    def _move(self, batch: Batch, clock: Clock) -> DeviceBatch:
        flip = None
        if self._flip:
            mask = flips(self._seed, batch.epoch, batch.indices.numpy())
            flip = torch.from_numpy(mask).view(-1, 1, 1, 1)
        size = batch.images.nbytes
        if self._stream is None:
            # On the CPU nothing is moved; the loader's memory is read before the next batch is asked for.
            # The loss keeps its labels for the backward pass, and autograd takes a write to another slot of the
            # same ring for a write to them: they need memory of their own.
            return DeviceBatch(batch.images, batch.labels.clone(), flip, batch.number, None, 0)
        device = self._compute.device
        with torch.cuda.stream(self._stream), clock.copying(self._stream):
            images = batch.images.to(device, non_blocking=self._async)
            labels = batch.labels.to(device, non_blocking=self._async)
            flip = None if flip is None else flip.to(device, non_blocking=self._async)
            copied = torch.cuda.Event()
            copied.record(self._stream)
        return DeviceBatch(images, labels, flip, batch.number, copied, size)

    def prepare(self, batch: DeviceBatch) -> torch.Tensor:
        """Normalised float32 images (N, 3, H, W) in the model's memory format, flipped where the batch says so."""
        if batch.copied is not None:
            current = torch.cuda.current_stream(self._compute.device)
            current.wait_event(batch.copied)
            for tensor in (batch.images, batch.labels):
                tensor.record_stream(current)
        images = batch.images.to(torch.float32).sub_(self._mean).mul_(self._scale)
        if batch.flip is not None:
            images = torch.where(batch.flip, images.flip(3), images)
        return images.contiguous(memory_format=self._format)
