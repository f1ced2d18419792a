"""The name of a cache, from all that its bytes depend on: the images, and the form that they are kept in."""

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
from gputrain.engine.training.cache.cache_forms import CacheForm

FORMAT = 2
"""Version of the files; another one is another cache."""
_CHUNK, _THREADS = 1024, 8
"""Files that one thread looks at in a row, and threads."""
_SAMPLED_FILES, _SAMPLE_BYTES = 16, 65536
"""Files whose first bytes count, and how many of them."""


def content_key(images: ImageSet, form: CacheForm, progress: Callable[[int, int], None] | None = None) -> str:
    """The name of the cache: 32 hexadecimal digits of all that the cache's bytes depend on.

    `progress` is called with the files looked at and their number: a million on another machine take minutes.

    Not of the folder's own path: images that were moved, or are seen under another mount, are the same. Beside names,
    sizes and times some files' content is looked at, since archives may give all files one time and raw pixels have
    one size.
    """
    key = hashlib.sha256(f"{FORMAT} {form.key}\n".encode())
    key.update(images.names)
    key.update(images.ends.tobytes())
    count = len(images)
    chunks = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    # Beside each other: each look takes a round trip where the files are on another machine.
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="stat") as pool:
        for chunk, times in zip(chunks, pool.map(functools.partial(_file_stats, images), chunks), strict=True):
            key.update(times.tobytes())
            if progress is not None:
                progress(chunk.stop, count)
    for index in np.linspace(0, count - 1, min(count, _SAMPLED_FILES), dtype=np.int64).tolist():
        key.update(_first_bytes(images.path(index)))
    return key.hexdigest()[:32]


def _file_stats(images: ImageSet, indices: range) -> npt.NDArray[np.int64]:
    """(len(indices), 2): size and time of change of each file."""
    found = np.full((len(indices), 2), -1, dtype=np.int64)
    for row, index in enumerate(indices):
        # A missing file is a bad image; that it was missing is a part of the key.
        with contextlib.suppress(OSError):
            status = os.stat(images.path(index))  # noqa: PTH116 - called for every image
            found[row] = status.st_size, status.st_mtime_ns
    return found


def _first_bytes(path: str) -> bytes:
    """The first bytes of a regular file; none of one that can't be read."""
    with contextlib.suppress(OSError):
        # Not blocking: a link to a FIFO would wait for a writer that never comes.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                return os.read(handle, _SAMPLE_BYTES)
        finally:
            os.close(handle)
    return b""
