"""Capacity of an image cache: bytes needed, bytes allowed, and the subset of images that it keeps."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import psutil

from gputrain.engine.common.errors import BadInput
from gputrain.engine.dataloading.worker_accounting import BatchAccounting
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.training.cache.cache_forms import CacheForm
from gputrain.engine.training.transforms.decode import BadImage
from gputrain.engine.training.workers.fill_batch import read_image

Place = Literal["ram", "disk"]

_PROBES = 48
"""Images that are encoded to estimate the size of all."""
_MARGIN = 1.05
"""The estimate is off by a few per cent."""
_DISK_SHARE = 0.9
"""Share of a disk's free space: a full disk stops everything else on it."""
_MEMORY_SHARE = 0.6
"""Share of the available memory: training, workers and the page cache need the rest."""
_CGROUP = Path("/sys/fs/cgroup")
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class CacheCapacity:
    """Bytes that a cache needs, and may use."""

    images: int
    needed: int
    """Bytes for all images."""
    allowed: int
    """Bytes that it may use."""
    place: Place
    folder: Path

    @property
    def share(self) -> float:
        """Share of the images that fit."""
        return min(1.0, self.allowed / self.needed) if self.needed else 1.0

    @property
    def sentence(self) -> str:
        """What the cache will keep, as a sentence for the user."""
        where = "memory" if self.place == "ram" else f"{self.folder}"
        if self.share == 1.0:
            return f"cache={self.place}: all {self.images:,} images, {_gib(self.needed)} in {where}"
        return (
            f"cache={self.place}: {self.share:.0%} of {self.images:,} images: {_gib(self.allowed)} of the "
            f"{_gib(self.needed)} that all need are free for it in {where}; the others are read from their files"
        )


def cache_capacity(images: ImageSet, form: CacheForm, place: Place, folder: Path, limit_gib: float) -> CacheCapacity:
    """The capacity of a new cache in `folder`. Raises BadInput if less than 1 % of the images would fit."""
    needed = int(mean_size(images, form) * len(images) * _MARGIN)
    allowed = free_memory(folder) if place == "ram" else int(free_on(folder) * _DISK_SHARE)
    if limit_gib:
        allowed = min(allowed, int(limit_gib * GIB))
    made = CacheCapacity(len(images), needed, allowed, place, folder)
    if made.share < 0.01:
        remedy = "GPUTRAIN_CACHE names another disk" if place == "disk" else "cache=disk needs no memory"
        raise BadInput(
            f"cache={place}: {len(images):,} images need {_gib(needed)}, but there are only {_gib(allowed)} for them "
            f"in {folder}; {remedy}, cache=none uses no cache"
        )
    return made


def cached_subset(count: int, share: float) -> npt.NDArray[np.bool_]:
    """Which of `count` images are kept, shape (count,): determined by their index, and growing with `share`.

    A fixed subset, since an LRU cache has no hits when each image is used once an epoch.
    """
    spread = np.random.Philox(key=[0, 0]).random_raw(count)
    return spread <= np.uint64(min(share, 1.0) * (2**64 - 2048))


def mean_size(images: ImageSet, form: CacheForm) -> float:
    """Mean bytes of a cached image, from a sample of the data set. Raises BadInput if none can be read."""
    meter = BatchAccounting()
    sizes: list[int] = []
    try:
        for index in np.linspace(0, len(images) - 1, min(_PROBES, len(images))).astype(int).tolist():
            try:
                sizes.append(len(form.encode(read_image(images, index, meter), images.place(index)).content))
            except BadImage:
                # The loader counts, names and replaces it.
                continue
    finally:
        meter.close()
    if not sizes:
        raise BadInput(f"{images.root}: none of {min(_PROBES, len(images))} images that were tried can be read")
    return sum(sizes) / len(sizes)


def free_on(folder: Path) -> int:
    """Free bytes for this user on the disk of `folder`, which may not exist yet."""
    while not folder.exists():
        folder = folder.parent
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def free_memory(folder: Path) -> int:
    """Bytes that a cache in the memory file system at `folder` may use."""
    available = int(min(psutil.virtual_memory().available, _cgroup_room()) * _MEMORY_SHARE)
    return min(available, int(free_on(folder) * _DISK_SHARE))


def _cgroup_room() -> float:
    """Bytes until this container's memory limit; infinite without one."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        return float("inf") if limit == "max" else int(limit) - int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return float("inf")


def _gib(size: int) -> str:
    return f"{size / GIB:,.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:,.1f} MiB"
