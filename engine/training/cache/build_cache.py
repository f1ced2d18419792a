"""Fills an image cache ahead of training."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.dataloading.worker_accounting import BatchAccounting
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.training.cache.image_cache import CachedSource, open_cache
from gputrain.engine.training.transforms.decode import BadImage
from gputrain.engine.training.workers import worker_pool

_CHUNK = 64
"""Images that a thread caches between two progress reports."""


@dataclass(frozen=True, slots=True)
class BuiltCache:
    """Result of `build_cache`."""

    folder: Path
    images: int
    """Images in the cache now."""
    used_bytes: int
    bad: tuple[str, ...]
    """Path and reason of each image that could not be read."""
    note: str


def build_cache(
    images: ImageSet, config: RunConfig, progress: Callable[[int, int], None], *, train: bool
) -> BuiltCache:
    """Encode all images that the cache keeps, with num_workers threads; continues where an earlier call ended.

    `progress` is called with the images done and their number. Raises BadInput for ``cache: none``.
    """
    source = open_cache(images, config, train=train)
    if source is None:
        raise BadInput("cache is none: there is nothing to build; set cache=disk")
    if source.place == "ram":
        source.close()
        raise BadInput("cache=ram lasts as long as a run and cannot be built ahead; set cache=disk")
    wanted = source.wanted()
    bad: list[str] = []
    try:
        with (
            worker_pool.single_threaded(),
            ThreadPoolExecutor(max(1, config.data.num_workers), thread_name_prefix="cache") as pool,
        ):
            chunks = [wanted[start : start + _CHUNK] for start in range(0, len(wanted), _CHUNK)]
            done = 0
            try:
                for number, found in enumerate(pool.map(lambda chunk: _prepare(source, images, chunk), chunks)):
                    bad += found
                    done += len(chunks[number])
                    progress(done, len(wanted))
                    if source.store.full:
                        raise BadInput(f"the disk of {source.store.folder} is full; free some space and build again")
            finally:
                pool.shutdown(cancel_futures=True)
        store = source.store
        return BuiltCache(store.folder, store.stored(), store.used_bytes(), tuple(bad), source.note)
    finally:
        source.close()


def _prepare(source: CachedSource, images: ImageSet, chunk: npt.NDArray[np.int64]) -> list[str]:
    bad: list[str] = []
    meter = BatchAccounting()
    try:
        for index in chunk.tolist():
            try:
                source.prepare(index, meter)
            except BadImage as error:
                bad.append(str(error))
    finally:
        meter.close()
    return bad
