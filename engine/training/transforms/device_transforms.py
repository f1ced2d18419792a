"""Device prefetcher and transforms: copies uint8 batches, then augments, flips, normalises, erases and mixes on device.

Random numbers are drawn on the host from (seed, epoch, index); the device gets them as one small table.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from gputrain.engine.configuration import normalization
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.dataloading import augment_rng
from gputrain.engine.dataloading.augment_rng import MixParameters
from gputrain.engine.dataloading.random_resized_crop import draw_flips
from gputrain.engine.training.runtime.batch import Batch
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.runtime.step_timing import StepClock
from gputrain.engine.training.tasks.task import Task
from gputrain.engine.training.transforms import autoaugment, hue_jitter
from gputrain.engine.training.transforms.autoaugment import AugmentChoices

_GREY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in the grey of ITU-R BT.601, as in torchvision's ColorJitter."""
_FLIP, _COLOURS, _BOX, _HUE = slice(0, 1), slice(1, 4), slice(4, 8), slice(8, 9)


@dataclass(slots=True)
class DeviceBatch:
    """A batch on the device, before its transforms."""

    images: torch.Tensor
    """uint8, (N, 3, H, W)."""
    labels: torch.Tensor
    """int64, (N,)."""
    changes: torch.Tensor | None
    """float32, (N, 9): whether to flip, three colour factors, the sides of the box to erase, the hue shift; None: no
    changes."""
    auto: AugmentChoices | None
    """The choices of RandAugment or TrivialAugment."""
    mix: MixParameters | None
    indices: npt.NDArray[np.int64]
    """(N,), on the host: indices into the data set."""
    copied: torch.cuda.Event | None
    bytes: int

    def plain_part(self, start: int, end: int) -> DeviceBatch:
        """The images from `start` to `end` of a batch without changes (validation)."""
        assert self.changes is None
        assert self.auto is None
        assert self.mix is None
        part = slice(start, end)
        return replace(self, images=self.images[part], labels=self.labels[part], indices=self.indices[part])


@dataclass(slots=True)
class PreparedBatch:
    """A batch as the network's input."""

    images: torch.Tensor
    """Normalised float32, (N, 3, H, W), in the model's memory format; (N, group, 3, H, W) for groups of images."""
    targets: torch.Tensor
    """The task's targets for the labels, (N, …)."""
    partners: torch.Tensor | None
    """Targets of the images that were mixed in; None: nothing was mixed."""
    share: float
    """Weight of `targets`; `partners` have the rest."""

    def split(self, size: int) -> Iterator[PreparedBatch]:
        """Parts of at most `size` images."""
        for start in range(0, len(self.targets), size):
            yield self.part(start, size)

    def part(self, start: int, size: int) -> PreparedBatch:
        """At most `size` images from `start` on."""
        part = slice(start, start + size)
        partners = None if self.partners is None else self.partners[part]
        return PreparedBatch(self.images[part], self.targets[part], partners, self.share)


class DevicePrefetcher:
    """Moves batches to the device, the next one during the computation on the present one."""

    def __init__(
        self, config: RunConfig, compute: Compute, *, train: bool, task: Task | None = None, rank: int = 0
    ) -> None:
        """Without a `task` the labels are the targets. `rank`: the rank whose batches these are."""
        self._rank = rank
        self._config = config
        self._task = task
        self._group = 1 if task is None else task.group
        self._compute = compute
        self._train = train
        self._flips = train and config.data.augment in ("flip", "crop_flip")
        self._colours = train and config.data.color_jitter > 0
        self._hues = train and config.data.hue_jitter > 0
        self._erases = train and config.data.random_erasing > 0
        self._async = config.data.non_blocking and config.data.pin_memory
        self._format = torch.channels_last if config.speed.channels_last else torch.contiguous_format
        self._stream = torch.cuda.Stream(compute.device) if compute.is_gpu else None
        mean, std = normalization.mean_std(config.data)
        self._mean = (torch.tensor(mean) * 255).view(1, 3, 1, 1).to(compute.device)
        self._scale = (1 / (torch.tensor(std) * 255)).view(1, 3, 1, 1).to(compute.device)
        self._grey = torch.tensor(_GREY).view(1, 3, 1, 1).to(compute.device)

    def batches(self, source: Iterator[Batch], clock: StepClock) -> Generator[DeviceBatch, None, None]:
        """The batches of `source` on the device; waiting for them counts as `clock`'s data wait."""
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
            # The loader may overwrite its host batch when the next one is requested.
            assert moved.copied is not None
            moved.copied.synchronize()
            ready = moved
        if ready is not None:
            yield ready

    def _move(self, batch: Batch, clock: StepClock) -> DeviceBatch:
        # The loader reuses its memory for later batches. On the CPU the labels need a copy too: the loss keeps them for
        # the backward pass, and autograd takes a write to another slot of the same buffer for a write to them.
        indices = batch.indices.numpy().copy()
        side = batch.images.shape[-1]
        # All images of a sample get the same changes.
        samples = indices // self._group
        changes = self._changes(batch.epoch, samples, side)
        mix = auto = None
        if self._train:
            mix = augment_rng.draw_mix_parameters(
                self._config, batch.epoch, batch.number * self._config.devices + self._rank, side
            )
            auto = autoaugment.draw(self._config, batch.epoch, samples, batch.images)
        if self._stream is None:
            return DeviceBatch(batch.images, batch.labels.clone(), changes, auto, mix, indices, None, 0)
        device, size = self._compute.device, batch.images.nbytes
        with torch.cuda.stream(self._stream), clock.copying(self._stream):
            images = batch.images.to(device, non_blocking=self._async)
            labels = batch.labels.to(device, non_blocking=self._async)
            changes = None if changes is None else changes.to(device, non_blocking=self._async)
            auto = None if auto is None else auto.to(device, non_blocking=self._async)
            copied = torch.cuda.Event()
            copied.record(self._stream)
        return DeviceBatch(images, labels, changes, auto, mix, indices, copied, size)

    def _changes(self, epoch: int, indices: npt.NDArray[np.int64], side: int) -> torch.Tensor | None:
        if not (self._flips or self._colours or self._hues or self._erases):
            return None
        table = np.zeros((len(indices), _HUE.stop), np.float32)
        if self._flips:
            table[:, _FLIP] = draw_flips(self._config.seed, epoch, indices)[:, None]
        if self._colours:
            table[:, _COLOURS] = augment_rng.color_jitter_factors(self._config, epoch, indices)
        if self._hues:
            table[:, _HUE] = augment_rng.hue_shifts(self._config, epoch, indices)[:, None]
        if self._erases:
            table[:, _BOX] = augment_rng.erasing_boxes(self._config, epoch, indices, side)
        return torch.from_numpy(table)

    def prepare(self, batch: DeviceBatch) -> PreparedBatch:
        """The batch with all its transforms applied, as the network's input."""
        if batch.copied is not None:
            current = torch.cuda.current_stream(self._compute.device)
            current.wait_event(batch.copied)
            chosen = () if batch.auto is None else (batch.auto.rows, batch.auto.values)
            for tensor in (batch.images, batch.labels, batch.changes, *chosen):
                if tensor is not None:
                    tensor.record_stream(current)
        images = batch.images if batch.auto is None else autoaugment.apply(batch.images, batch.auto)
        # A custom data set may have normalised its images itself.
        raw = not images.is_floating_point()
        images = images.to(torch.float32)
        if self._colours:
            images = self._jitter_colours(images, _columns(batch, _COLOURS))
        if self._hues:
            images = hue_jitter.shift_hue(images, _columns(batch, _HUE)[..., None])
        if raw:
            images = images.sub_(self._mean).mul_(self._scale)
        if self._flips:
            images = torch.where(_columns(batch, _FLIP)[..., None] > 0.5, images.flip(3), images)
        if self._erases:
            images = _erase(images, _columns(batch, _BOX))
        targets = self._targets(batch)
        images, partners = _mix(images, targets, batch.mix)
        share = 1.0 if batch.mix is None else batch.mix.share
        if images.ndim == 4:
            images = images.contiguous(memory_format=self._format)
        if self._group > 1:
            images = images.unflatten(0, (-1, self._group))
        return PreparedBatch(images, targets, partners, share)

    def _targets(self, batch: DeviceBatch) -> torch.Tensor:
        if self._task is None:
            return batch.labels
        return self._task.targets(batch.labels, _columns(batch, _FLIP)[:, 0, 0] > 0.5 if self._flips else None)

    def _jitter_colours(self, images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
        """Images in 0…255 with changed brightness, contrast and saturation, in this order."""
        brightness, contrast, saturation = factors[..., None].unbind(1)
        images = (images * brightness[:, None]).clamp_(0, 255)
        mean = (images * self._grey).sum(1, keepdim=True).mean((2, 3), keepdim=True)
        images = torch.lerp(mean, images, contrast[:, None]).clamp_(0, 255)
        grey = (images * self._grey).sum(1, keepdim=True)
        return torch.lerp(grey, images, saturation[:, None]).clamp_(0, 255)


def _columns(batch: DeviceBatch, columns: slice) -> torch.Tensor:
    """Columns of the batch's changes, (N, columns, 1)."""
    assert batch.changes is not None
    return batch.changes[:, columns, None]


def _erase(images: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Normalised images with their boxes (N, 4, 1: left, top, right, bottom) set to 0, the mean colour."""
    left, top, right, bottom = boxes.unbind(1)
    x = torch.arange(images.shape[3], device=images.device)
    y = torch.arange(images.shape[2], device=images.device)
    across, down = (x >= left) & (x < right), (y >= top) & (y < bottom)
    return images.masked_fill(down[:, None, :, None] & across[:, None, None, :], 0)


def _mix(
    images: torch.Tensor, targets: torch.Tensor, mix: MixParameters | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    if mix is None:
        return images, None
    partners = images.roll(1, 0)
    if mix.box is None:
        images = torch.lerp(partners, images, mix.share)
    else:
        left, top, right, bottom = mix.box
        images[:, :, top:bottom, left:right] = partners[:, :, top:bottom, left:right]
    return images, targets.roll(1, 0)
