"""The local cache of remote shards, and of compressed ones, which it holds unpacked.

It is bounded, and shared by all processes and runs of a machine, by locks of the kernel.

A shard appears when it is complete and verified, under a name that has its version: it never changes. Who reads one
holds a shared lock; eviction takes the lock exclusively, least recently used first, so that a shard in use stays. Locks
end with their process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from gputrain.engine.common import units
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.remote_shards.object_store import ObjectStore, RemoteStat
from gputrain.engine.datasets.remote_shards.shard_download import OnBytes, download
from gputrain.engine.datasets.remote_shards.unpacking import NOT_PACKED, Packing

_RESERVE, _MOST_RESERVED = 0.05, 5 << 30
"""Share of the disk, and bytes, that are left free."""
_PART = ".part"
_POLL_SECONDS = 0.1
_LOCKS = "locks"


class CacheFull(BadInput):
    """There is no room for a shard: all that could be evicted is in use."""


class Wanted(NamedTuple):
    """A remote file as it is to be cached."""

    url: str
    """Its URL, or its path on this machine."""
    stat: RemoteStat
    packing: Packing = NOT_PACKED
    """How it is compressed: the cache holds it unpacked."""

    @property
    def size(self) -> int:
        """Its bytes in the cache, maybe as an estimate."""
        return self.packing.size if self.packing.codec else self.stat.size

    def fits(self, size: int) -> bool:
        """Whether a file of `size` bytes in the cache may be this one."""
        return size == self.size or not self.packing.exact

    @property
    def name(self) -> str:
        """Its name in the cache."""
        described = f"{self.url}\n{self.stat.size}\n{self.stat.version}\n{self.stat.digest}"
        if self.packing.codec:
            described += f"\n{self.packing.codec} {self.packing.size}"
        key = hashlib.sha256(described.encode("utf-8", "surrogateescape")).hexdigest()[:24]
        return f"{key}-{self.url.rpartition('/')[2][-100:]}"


class ShardCache:
    """A cache in `folder` of at most `limit` bytes; 0: as much as the disk has, less a reserve."""

    def __init__(self, folder: Path, limit: int = 0) -> None:
        self.folder, self.limit = folder, limit

    def path(self, wanted: Wanted) -> Path:
        """Where the file is or will be."""
        return self.folder / wanted.name

    def holds(self, wanted: Wanted) -> bool:
        """Whether the file is in the cache, as a whole."""
        try:
            return wanted.fits(self.path(wanted).stat().st_size)
        except OSError:
            return False

    def open(self, wanted: Wanted) -> int | None:
        """A handle of the file with a shared lock, until it is closed; None if it is not in the cache."""
        try:
            handle = os.open(self.path(wanted), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        # Without waiting: who has the lock exclusively removes the file.
        if _locked(handle, fcntl.LOCK_SH) and wanted.fits(os.fstat(handle).st_size):
            return handle
        os.close(handle)
        return None

    def fetch(self, store: ObjectStore, wanted: Wanted, on_bytes: OnBytes, *, wait: bool = True) -> int | None:
        """A handle as of `open`, after downloading the file if needed; one process downloads, others wait for it.

        None without `wait` if another process is downloading it. Raises CacheFull, RemoteError, BadInput, and what
        `on_bytes` raises.
        """
        try:
            (self.folder / _LOCKS).mkdir(mode=0o700, parents=True, exist_ok=True)
            while True:
                if (handle := self.open(wanted)) is not None:
                    os.utime(handle)  # for eviction: it was used now
                    return handle
                with self._downloading(wanted, on_bytes, wait=wait) as mine:
                    if not mine:
                        return None
                    if not self.holds(wanted):
                        self._download(store, wanted, on_bytes)
        except InterruptedError:
            raise  # by `on_bytes`
        except OSError as error:
            raise self._fault(error) from error

    def make_room(self, size: int) -> None:
        """Evict the least recently used files until `size` bytes fit. Raises CacheFull, OSError."""
        found = self._files()
        candidates = sorted((row for row in found if not row.name.endswith(_PART)), key=lambda row: row.used)
        used = sum(row.size for row in found)
        while (missing := self._missing(size, used, found)) > 0:
            if not candidates:
                raise self._full(missing)
            oldest = candidates.pop(0)
            if self._evict(self.folder / oldest.name):
                used -= oldest.size

    @contextmanager
    def _downloading(self, wanted: Wanted, on_bytes: OnBytes, *, wait: bool) -> Iterator[bool]:
        handle = os.open(self.folder / _LOCKS / wanted.name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not (mine := _locked(handle, fcntl.LOCK_EX)) and wait:
                on_bytes(0)
                time.sleep(_POLL_SECONDS)
            yield mine
        finally:
            os.close(handle)

    def _download(self, store: ObjectStore, wanted: Wanted, on_bytes: OnBytes) -> None:
        handle, name = self._part(wanted)
        try:
            for attempt in (1, 2):
                try:
                    download(store, wanted.url, wanted.stat, handle, on_bytes, wanted.packing)
                    os.fsync(handle)
                    break
                except OSError as error:
                    if attempt == 2 or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                        raise
                    # Another program has taken the space meanwhile.
                    self.make_room(wanted.size)
            os.rename(name, self.path(wanted))  # noqa: PTH104
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)  # noqa: PTH108
            raise
        finally:
            os.close(handle)

    def _part(self, wanted: Wanted) -> tuple[int, str]:
        """A new file of the full size, so that others see the space as taken."""
        room = os.open(self.folder / _LOCKS / "room", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(room, fcntl.LOCK_EX)
            self._remove_abandoned()
            self.make_room(wanted.size)
            handle, name = tempfile.mkstemp(suffix=_PART, prefix=".", dir=self.folder)
            fcntl.flock(handle, fcntl.LOCK_SH)
            os.ftruncate(handle, wanted.size)
            return handle, name
        finally:
            os.close(room)

    def _remove_abandoned(self) -> None:
        """Remove the parts whose processes are gone."""
        for part in self.folder.glob(f"*{_PART}"):
            self._evict(part)

    def _evict(self, path: Path) -> bool:
        """Remove a file, unless it is in use; whether it is gone."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            if not _locked(handle, fcntl.LOCK_EX):
                return False
            path.unlink(missing_ok=True)
            return True
        finally:
            os.close(handle)

    def _files(self) -> list[_Kept]:
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_file(follow_symlinks=False):
                        stat = entry.stat(follow_symlinks=False)
                        found.append(_Kept(entry.name, stat.st_size, stat.st_blocks * 512, stat.st_mtime))
        return found

    def _missing(self, size: int, used: int, found: list[_Kept]) -> int:
        """Bytes to free for `size` more."""
        disk = os.statvfs(self.folder)
        promised = sum(max(0, row.size - row.taken) for row in found if row.name.endswith(_PART))
        reserve = min(int(disk.f_blocks * disk.f_frsize * _RESERVE), _MOST_RESERVED)
        missing = size + promised + reserve - disk.f_bavail * disk.f_frsize
        return max(missing, used + size - self.limit) if self.limit else missing

    def _full(self, missing: int) -> CacheFull:
        full = f"full of shards in use, {units.size(missing)} are missing"
        if self.limit:
            place = f"remote_cache_gib: the cache of {units.size(self.limit)}"
            return CacheFull(f"{place} is {full}; raise it, or lower shuffle_window")
        where = f"the disk of {plain(str(self.folder), 300)}"
        remedy = "free some space, move the cache with GPUTRAIN_CACHE, or lower shuffle_window"
        return CacheFull(f"{where} is {full}; {remedy}")

    def _fault(self, error: OSError) -> BadInput:
        place = plain(str(self.folder), 300)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return CacheFull(f"the disk of {place} is full; free some space, or move the cache with GPUTRAIN_CACHE")
        return BadInput(f"the cache of remote shards in {place} cannot be written: {error.strerror or error}")


class _Kept(NamedTuple):
    name: str
    size: int
    taken: int
    """Bytes on the disk."""
    used: float
    """Time of its last use."""


def _locked(handle: int, kind: int) -> bool:
    """Whether the lock was free."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
