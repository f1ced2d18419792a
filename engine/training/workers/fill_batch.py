"""Fills one batch: reads, decodes, crops and resizes each sample, and replaces bad images by good ones."""

from __future__ import annotations

import errno
import functools
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from gputrain.engine.configuration.progressive_resizing import ImageSizeSchedule
from gputrain.engine.configuration.sections.data_settings import Interpolation
from gputrain.engine.dataloading import random_resized_crop
from gputrain.engine.dataloading.bad_image_replacement import replacement_samples
from gputrain.engine.dataloading.batch_sampler import Indices
from gputrain.engine.dataloading.random_resized_crop import CropDraw
from gputrain.engine.dataloading.worker_accounting import BatchAccounting
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.datasets.shards.sharded_images import ShardFault
from gputrain.engine.training.transforms import decode
from gputrain.engine.training.transforms.decode import BadImage, Choose

MAX_FILE = 1 << 29
"""Larger files are bad images, in bytes: files are read whole into memory."""
# Errors of a single file. All others (no memory, no file descriptors) concern the machine and end the run.
_FILE_ERRORS = (
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ELOOP,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENXIO,
    errno.ESTALE,
    errno.EUCLEAN,
)


class TooManyBadImages(Exception):  # noqa: N818 - reads as what it is
    """More files of a batch are bad than the run may skip; `bad` lists index and reason of each."""

    def __init__(self, bad: list[tuple[int, str]]) -> None:
        super().__init__(bad)
        self.bad = bad


class ImageSource(Protocol):
    """Source of an image's pixels: its file, memory, or a cache."""

    def render(self, index: int, choose: Choose, out: torch.Tensor, meter: BatchAccounting) -> None:
        """Write the crop of image `index` that `choose` returns to `out` (3, size, size). Raises BadImage."""
        ...


@dataclass(frozen=True, slots=True)
class FileSource:
    """Images read from their files or shards each time."""

    images: ImageSet

    def render(self, index: int, choose: Choose, out: torch.Tensor, meter: BatchAccounting) -> None:
        """See `ImageSource`."""
        data = read_image(self.images, index, meter)
        decode.decode_into(data, self.images.place(index), choose, out, self.images.decoding)


@dataclass(frozen=True, slots=True)
class MemorySource:
    """Images in memory."""

    pixels: torch.Tensor
    """uint8 (N, H, W, 3)."""
    interpolation: Interpolation = "bilinear"

    def render(self, index: int, choose: Choose, out: torch.Tensor, meter: BatchAccounting) -> None:
        """See `ImageSource`."""
        pixels = self.pixels[index].numpy()
        decode.resize(pixels, choose(pixels.shape[1], pixels.shape[0]), 1, out, self.interpolation)


def source_of(images: ImageSet) -> ImageSource:
    """The source of `images` without a cache."""
    if images.pixels is None:
        return FileSource(images)
    return MemorySource(images.pixels, images.decoding.interpolation)


@dataclass(frozen=True, slots=True)
class BatchSlot:
    """The memory of one batch on the host."""

    pixels: torch.Tensor
    """uint8 (batch_size, 3, size, size), channels_last."""
    labels: torch.Tensor
    """int64 (batch_size,)."""
    indices: torch.Tensor
    """int64 (batch_size,)."""

    def sized(self, size: int) -> torch.Tensor:
        """The memory for smaller images: uint8 (batch_size, 3, size, size), channels_last."""
        count, channels, height, width = self.pixels.shape
        if size == width:
            return self.pixels
        flat = self.pixels.permute(0, 2, 3, 1).view(count * height * width * channels)
        return flat[: count * size * size * channels].view(count, size, size, channels).permute(0, 3, 1, 2)


@dataclass(frozen=True, slots=True)
class BatchFiller:
    """Fills batches from indices: a pure function of indices, epoch and files."""

    images: ImageSet
    source: ImageSource
    view: CropDraw
    """The crop at full image size."""
    growth: ImageSizeSchedule
    seed: int
    max_bad: int

    def view_in(self, epoch: int) -> CropDraw:
        """The crop in an epoch."""
        return self.view.sized(self.growth.at(epoch))

    def fill(
        self, slot: BatchSlot, epoch: int, indices: Indices, meter: BatchAccounting, cancelled: Callable[[], bool]
    ) -> list[tuple[int, str]]:
        """Fill `slot` with the images at `indices` (whole samples); returns the bad images as (index, why).

        A sample with a bad image is replaced by a good one, with that one's indices and labels. Returns early, with the
        batch unfinished, when `cancelled` returns true. Raises TooManyBadImages.
        """
        bad: dict[int, str] = {}
        chosen: list[int] = []
        group = self.images.group
        samples = indices[::group] // group
        rows = random_resized_crop.uniforms(self.seed, epoch, samples).tolist()
        pixels = slot.sized(self.growth.at(epoch))
        for position, (sample, draws) in enumerate(zip(samples.tolist(), rows, strict=True)):
            if cancelled():
                break
            places = pixels[position * group : (position + 1) * group]
            made = self._make(sample, draws, places, epoch, meter, bad)
            chosen.extend(range(made * group, (made + 1) * group))
            meter.made(made * group)
        count = len(chosen)
        at = np.asarray(chosen, dtype=np.int64)
        slot.indices[:count] = torch.from_numpy(at)
        slot.labels[:count] = torch.from_numpy(self.images.labels[at])
        return list(bad.items())

    def _make(
        self,
        sample: int,
        draws: random_resized_crop.Draws,
        out: torch.Tensor,
        epoch: int,
        meter: BatchAccounting,
        bad: dict[int, str],
    ) -> int:
        """Write `sample` to `out` (group, 3, size, size), or a replacement if it is bad; returns the sample written.

        The replacement is the first good one of `bad_image_replacement`.
        """
        group = self.images.group
        count, view = len(self.images) // group, self.view_in(epoch)
        replacements: Iterator[int] | None = None
        while True:
            first = sample * group
            if not any(index in bad for index in range(first, first + group)):
                index = first
                try:
                    for index, place in enumerate(out, first):
                        self.source.render(index, self._choice(view, index, draws), place, meter)
                    return sample
                except BadImage as error:
                    bad[index] = error.why
                    if len(bad) > self.max_bad or len({index // group for index in bad}) == count:
                        raise TooManyBadImages(list(bad.items())) from None
            replacements = replacements or replacement_samples(self.seed, epoch, sample, count)
            sample = next(replacements)
            draws = random_resized_crop.uniforms(self.seed, epoch, np.array([sample]))[0].tolist()

    def _choice(self, view: CropDraw, index: int, draws: random_resized_crop.Draws) -> Choose:
        """The crop of image `index`."""
        if self.images.boxes is None:
            return functools.partial(view.geometry, draws)
        return functools.partial(view.within, self.images.boxes[index].tolist(), draws)


def read_image(images: ImageSet, index: int, meter: BatchAccounting) -> bytes:
    """The bytes of an image's file. Raises BadImage for a fault of the file, OSError for one of the machine."""
    shards = images.shards
    if shards is None:
        return read_file(images.path(index), meter)
    start = time.perf_counter()
    try:
        data = shards.read(index, MAX_FILE, meter.downloaded)
    except ShardFault as fault:
        raise BadImage(shards.place(index), fault.why) from None
    except OSError as error:
        if error.errno in _FILE_ERRORS:
            raise BadImage(shards.place(index), f"its shard cannot be read: {error.strerror}") from None
        raise
    meter.read(time.perf_counter() - start, len(data))
    return data


def read_file(path: str, meter: BatchAccounting) -> bytes:
    """The bytes of a regular file. Raises BadImage for a fault of the file, OSError for one of the machine."""
    start = time.perf_counter()
    try:
        # Non-blocking: a link to a FIFO would wait for a writer forever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            data = _read_all(handle, path)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno in _FILE_ERRORS:
            raise BadImage(path, f"cannot be read: {error.strerror}") from None
        raise
    meter.read(time.perf_counter() - start, len(data))
    return data


def _read_all(handle: int, path: str) -> bytes:
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        raise BadImage(path, "not a regular file")
    if status.st_size > MAX_FILE:
        raise BadImage(path, f"{status.st_size:,} bytes, more than the limit of {MAX_FILE:,}")
    data = os.read(handle, status.st_size)
    if len(data) == status.st_size:
        return data
    parts = [data]
    while more := os.read(handle, status.st_size):
        parts.append(more)
    return b"".join(parts)
