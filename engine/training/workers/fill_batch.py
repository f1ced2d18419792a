"""Filling one batch: read, decode, cut and resize each sample, and put a good image in the place of a bad one."""

from __future__ import annotations

import errno
import functools
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from gputrain.engine.configuration.progressive_resizing import ImageSizeSchedule
from gputrain.engine.dataloading import random_resized_crop
from gputrain.engine.dataloading.batch_sampler import Indices
from gputrain.engine.dataloading.random_resized_crop import CropDraw
from gputrain.engine.dataloading.worker_accounting import BatchAccounting
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.training.transforms import decode
from gputrain.engine.training.transforms.decode import BadImage, Choose

MAX_FILE = 1 << 29
"""Bytes of a file that is read whole into memory at most."""
# A file's own trouble; anything else (no memory, no file descriptors) is the machine's and ends the run.
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
    """A batch in which more files are bad than the run may skip; carries what was found."""

    def __init__(self, bad: list[tuple[int, str]]) -> None:
        super().__init__(bad)
        self.bad = bad


class ImageSource(Protocol):
    """Where the pixels of an image come from: its file, or a cache in front of it."""

    def render(self, index: int, choose: Choose, out: torch.Tensor, meter: BatchAccounting) -> None:
        """Write what `choose` names of image `index` to `out` (3, size, size). Raises BadImage."""
        ...


@dataclass(frozen=True, slots=True)
class FileSource:
    """Images read from their files each time."""

    images: ImageSet

    def render(self, index: int, choose: Choose, out: torch.Tensor, meter: BatchAccounting) -> None:
        """See `ImageSource`."""
        path = self.images.path(index)
        decode.decode_into(read_file(path, meter), path, choose, out)


@dataclass(frozen=True, slots=True)
class MemorySource:
    """Images whose pixels are in memory."""

    pixels: torch.Tensor
    """uint8 (N, H, W, 3)."""

    def render(self, index: int, choose: Choose, out: torch.Tensor, meter: BatchAccounting) -> None:
        """See `ImageSource`."""
        pixels = self.pixels[index].numpy()
        decode.resize(pixels, choose(pixels.shape[1], pixels.shape[0]), 1, out)


def source_of(images: ImageSet) -> ImageSource:
    """Where the pixels of `images` are without a cache."""
    return FileSource(images) if images.pixels is None else MemorySource(images.pixels)


@dataclass(frozen=True, slots=True)
class BatchSlot:
    """The places of one batch in host memory."""

    pixels: torch.Tensor
    """uint8 (batch_size, 3, size, size), channels_last."""
    labels: torch.Tensor
    """int64 (batch_size,)."""
    indices: torch.Tensor
    """int64 (batch_size,)."""

    def sized(self, size: int) -> torch.Tensor:
        """The place of the pixels of smaller images: uint8 (batch_size, 3, size, size), channels_last."""
        count, channels, height, width = self.pixels.shape
        if size == width:
            return self.pixels
        flat = self.pixels.permute(0, 2, 3, 1).view(count * height * width * channels)
        return flat[: count * size * size * channels].view(count, size, size, channels).permute(0, 3, 1, 2)


@dataclass(frozen=True, slots=True)
class BatchFiller:
    """Makes batches from indices: a pure function of them, the epoch, and what is on disk."""

    images: ImageSet
    source: ImageSource
    view: CropDraw
    """For images of full size."""
    growth: ImageSizeSchedule
    seed: int
    max_bad: int

    def view_in(self, epoch: int) -> CropDraw:
        """The view in an epoch."""
        return self.view.sized(self.growth.at(epoch))

    def fill(
        self, slot: BatchSlot, epoch: int, indices: Indices, meter: BatchAccounting, cancelled: Callable[[], bool]
    ) -> list[tuple[int, str]]:
        """Make the images at `indices`, whole samples, in `slot`; returns the bad images met, as (index, why).

        In the place of a sample with a bad image stands a good one, under its own indices and labels. Returns early,
        the batch unfinished, when `cancelled`. Raises TooManyBadImages.
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
        """Make `sample` in `out` (group, 3, size, size), or another one if it is bad; returns which it is in the end.

        That is the first good one from a place on that is drawn from (seed, epoch, index): the samples of a folder
        that has vanished are replaced by many and not by the one behind it.
        """
        group = self.images.group
        count, view = len(self.images) // group, self.view_in(epoch)
        following: int | None = None
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
            if following is None:
                following = int(
                    random_resized_crop.uniforms(
                        self.seed, epoch, np.array([sample]), 1, random_resized_crop.REPLACING
                    )[0, 0]
                    * count
                )
            sample, following = following % count, following + 1
            draws = random_resized_crop.uniforms(self.seed, epoch, np.array([sample]))[0].tolist()

    def _choice(self, view: CropDraw, index: int, draws: random_resized_crop.Draws) -> Choose:
        """What of image `index` is shown."""
        if self.images.boxes is None:
            return functools.partial(view.geometry, draws)
        return functools.partial(view.within, self.images.boxes[index].tolist(), draws)


def read_file(path: str, meter: BatchAccounting) -> bytes:
    """The bytes of a regular file. Raises BadImage where the file is at fault, OSError where the machine is."""
    start = time.perf_counter()
    try:
        # Not blocking: a link to a FIFO would wait for a writer that never comes.
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
