"""Key of an image cache: a hash of everything that its bytes depend on (the images' files, and the format)."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.datasets.shards.sharded_images import ShardFault
from gputrain.engine.training.cache.cache_forms import CacheForm

FORMAT = 3
"""Version of the files; every version has its own caches."""
_CHUNK, _THREADS = 1024, 8
"""Files per task of a thread, and threads."""
_SAMPLED_FILES, _SAMPLE_BYTES = 16, 65536
"""Files whose first bytes are hashed, and bytes of each."""


def content_key(images: ImageSet, form: CacheForm, progress: Callable[[int, int], None] | None = None) -> str:
    """The cache's name: 32 hexadecimal digits, a hash of names, sizes and times of all files, and the format.

    `progress` is called with the files done and their number: a million on a network file system take minutes.

    The folder's path does not count: images that were moved, or are mounted elsewhere, have the same key. The first
    bytes of some files count too, since archives may give all files the same time, and raw pixels the same size.
    """
    key = hashlib.sha256(f"{FORMAT} {form.key}\n".encode())
    if images.shards is not None:
        # The key of the index is one of the shards' names, sizes and times.
        key.update(images.shards.key.encode())
        for index in np.linspace(0, len(images) - 1, min(len(images), _SAMPLED_FILES), dtype=np.int64).tolist():
            with contextlib.suppress(OSError, ShardFault):
                key.update(images.shards.read(index)[:_SAMPLE_BYTES])
        return key.hexdigest()[:32]
    key.update(images.names)
    key.update(images.ends.tobytes())
    count = len(images)
    chunks = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    # In parallel: each stat is a round trip on a network file system.
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="stat") as pool:
        for chunk, times in zip(chunks, pool.map(functools.partial(_file_stats, images), chunks), strict=True):
            key.update(times.tobytes())
            if progress is not None:
                progress(chunk.stop, count)
    for index in np.linspace(0, count - 1, min(count, _SAMPLED_FILES), dtype=np.int64).tolist():
        key.update(_first_bytes(images.path(index)))
    return key.hexdigest()[:32]


def _file_stats(images: ImageSet, indices: range) -> npt.NDArray[np.int64]:
    """(len(indices), 2): size and modification time of each file; -1 for a missing one."""
    found = np.full((len(indices), 2), -1, dtype=np.int64)
    for row, index in enumerate(indices):
        # A missing file is a bad image; that it is missing is part of the key.
        with contextlib.suppress(OSError):
            status = os.stat(images.path(index))  # noqa: PTH116 - called for every image
            found[row] = status.st_size, status.st_mtime_ns
    return found


def _first_bytes(path: str) -> bytes:
    """The first bytes of a regular file; empty if it cannot be read."""
    with contextlib.suppress(OSError):
        # Non-blocking: a link to a FIFO would wait for a writer forever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                return os.read(handle, _SAMPLE_BYTES)
        finally:
            os.close(handle)
    return b""
