"""Files of an image cache: a data file and a table of each image's place in it, shared by threads, workers and runs.

A writer claims an image under a lock, writes its bytes, and marks it as written last. A crash leaves claims, which the
next run frees, and never half an image. Entries that were written but not synced could be lost in a power failure: they
are valid only until the next boot (by the kernel's boot id). A checksum of each image, verified once per run, detects
damage by the disk.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput

_EMPTY, _CLAIMED, _WRITTEN, _DURABLE = range(4)
_STATE, _OFFSET, _LENGTH, _SIZE, _SUM, _CHECKED = range(6)
_COLUMNS = 6
_END = 1
"""Column of the table's first row that holds the end of the data."""
_ALIGN = 64
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class CacheEntry(NamedTuple):
    """An image's place in the data file, its width and height, and its checksum."""

    offset: int
    length: int
    width: int
    height: int
    sum: int
    checked: bool
    """This run has verified the checksum, or written the bytes."""


class CacheStore:
    """The open files of one cache. Each process opens its own; threads share one."""

    def __init__(self, folder: Path, count: int, capacity: int, run: int = 1) -> None:
        """Open or create the cache of `count` images in `folder`, with at most `capacity` bytes of data.

        `run` is a number that identifies the run in all of its processes. Raises BadInput if the folder is not
        writable.
        """
        self.folder = folder
        self._run = run
        self._guard = threading.Lock()
        self.full = False
        """Whether the disk ran out of space."""
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._users = os.open(folder / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._data = os.open(folder / "data", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._table = os.open(folder / "table", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with self._locked():
                self._prepare(count, capacity)
        except OSError as error:
            raise BadInput(f"the cache in {folder} cannot be opened: {error.strerror or error}") from error
        # Nothing is written through the map, but torch does not accept read-only memory.
        self.map = mmap.mmap(self._data, self.capacity)
        self.pixels = torch.frombuffer(self.map, dtype=torch.uint8)
        """All data as one tensor (capacity,), for views."""

    def _prepare(self, count: int, capacity: int) -> None:
        alone = _try_lock(self._users)
        size = (count + 1) * _COLUMNS * 8
        if os.fstat(self._table).st_size != size:
            os.ftruncate(self._table, size)
        table = mmap.mmap(self._table, size)
        self._rows: npt.NDArray[np.int64] = np.frombuffer(table, dtype=np.int64).reshape(count + 1, _COLUMNS)
        present = os.fstat(self._data).st_size
        self.capacity = max(capacity, present, mmap.PAGESIZE)
        if present < self.capacity:
            # Sparse: disk space is used when something is written.
            os.ftruncate(self._data, self.capacity)
        if alone:
            self._recover()
        fcntl.flock(self._users, fcntl.LOCK_SH)

    def _recover(self) -> None:
        """Free what a crash left: claims always, unsynced entries after a reboot."""
        boot, mark = _boot_id(), self.folder / "boot"
        state = self._rows[1:, _STATE]
        state[state == _CLAIMED] = _EMPTY
        if not mark.exists() or mark.read_bytes() != boot:
            state[state == _WRITTEN] = _EMPTY
            files.write_atomic(mark, boot)

    def get(self, index: int) -> CacheEntry | None:
        """The entry of an image; None if it is not cached."""
        state, offset, length, size, total, run = self._rows[index + 1].tolist()
        # A run with a larger budget may have written past the end of this run's map.
        if state < _WRITTEN or offset < 0 or length < 1 or offset + length > self.capacity:
            return None
        return CacheEntry(offset, length, size >> 32, size & 0xFFFFFFFF, total, run == self._run)

    def is_whole(self, index: int, entry: CacheEntry) -> bool:
        """Verify the checksum of an image; True if its bytes are undamaged."""
        if _sum(memoryview(self.map)[entry.offset : entry.offset + entry.length]) != entry.sum:
            return False
        self._rows[index + 1, _CHECKED] = self._run
        return True

    def drop(self, index: int, entry: CacheEntry) -> bool:
        """Remove a damaged image; False if another writer has removed it, and perhaps written it again."""
        row = self._rows[index + 1]
        with self._locked():
            if row[_STATE] < _WRITTEN or (row[_CHECKED] == self._run) != entry.checked:
                return False
            row[_STATE] = _EMPTY
            return True

    def put(self, index: int, content: bytes | memoryview, width: int, height: int) -> bool:
        """Store the bytes of an image of `width` × `height`; False if another writer has it, or there is no space."""
        length = len(content)
        offset = self._claim(index, length)
        if offset is None:
            return False
        row = self._rows[index + 1]
        try:
            _write_at(self._data, content, offset)
        except OSError as error:
            row[_STATE] = _EMPTY
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self.full = True
            return False
        row[_SIZE] = width << 32 | height
        row[_SUM], row[_CHECKED] = _sum(memoryview(content)), self._run
        row[_STATE] = _WRITTEN
        return True

    def _claim(self, index: int, length: int) -> int | None:
        """Reserve `length` bytes and return their offset; a freed entry reuses its place if that is large enough."""
        row = self._rows[index + 1]
        with self._locked():
            if row[_STATE] != _EMPTY or self.full:
                return None
            if row[_LENGTH] < length:
                end = int(self._rows[0, _END])
                if end + length > self.capacity:
                    return None
                row[_OFFSET] = end
                self._rows[0, _END] = -(-(end + length) // _ALIGN) * _ALIGN
            row[_LENGTH] = length
            row[_STATE] = _CLAIMED
            return int(row[_OFFSET])

    def read(self, offset: int, length: int) -> bytes:
        """Read `length` bytes of the data; releases the GIL while it waits for the disk."""
        return os.pread(self._data, length, offset)

    def commit(self) -> None:
        """Sync all written entries to the disk, so that they survive a power failure."""
        written = np.flatnonzero(self._rows[1:, _STATE] == _WRITTEN) + 1
        if not len(written):
            return
        os.fdatasync(self._data)
        with self._locked():
            # Workers continue meanwhile, and may have removed an entry.
            self._rows[written[self._rows[written, _STATE] == _WRITTEN], _STATE] = _DURABLE
        os.fsync(self._table)

    def stored(self) -> int:
        """Number of cached images."""
        return int((self._rows[1:, _STATE] >= _WRITTEN).sum())

    def used_bytes(self) -> int:
        """Bytes of data in use."""
        return int(self._rows[0, _END])

    def close(self, *, remove: bool = False) -> None:
        """Close the files; idempotent. `remove`: delete the cache if no other run uses it."""
        if self._users < 0:
            return
        self.commit()
        if remove and _try_lock(self._users):
            shutil.rmtree(self.folder)
        for handle in (self._users, self._lock, self._data, self._table):
            os.close(handle)
        self._users = -1

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time: a file lock between processes, a threading lock within this process."""
        with self._guard:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)


def remove_unused(home: Path) -> None:
    """Delete the caches under `home` that no run has open: leftovers of killed runs in memory."""
    for folder in home.iterdir() if home.is_dir() else ():
        try:
            handle = os.open(folder / "users", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            # Not a cache, or another user's.
            continue
        try:
            if _try_lock(handle):
                shutil.rmtree(folder)
        finally:
            os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_at(handle: int, content: bytes | memoryview, offset: int) -> None:
    rest = memoryview(content)
    while rest:
        written = os.pwrite(handle, rest, offset)
        rest, offset = rest[written:], offset + written


def _sum(content: memoryview) -> int:
    """Checksum: the sum of the bytes as 64-bit integers. Detects all damage except swapped words."""
    words = len(content) // 8
    total = int(np.frombuffer(content, np.int64, words).sum()) + int.from_bytes(content[8 * words :], "little")
    return (total + 2**63) % 2**64 - 2**63


def _boot_id() -> bytes:
    try:
        return _BOOT_ID.read_bytes()
    except OSError:
        # Without /proc boots cannot be distinguished: unsynced entries are never trusted.
        return os.urandom(16)
