"""The pages of a script's processes as the supervisor sees them: mapped once, read often, without a system call."""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from gputrain.engine.probe import layout
from gputrain.engine.runs.run_lock import acquire, is_held

_PREFIX = "gputrain-"
_OWNER = "owner"
"""Lock file of the supervisor that reads the pages of a folder."""


class MappedPage:
    """One page. Slots may change while they are read: each is whole, but two may be of different moments."""

    def __init__(self, path: Path) -> None:
        """Map the file. Raises OSError, ValueError if it is no page yet."""
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if os.fstat(handle).st_size != layout.PAGE_BYTES:
                raise ValueError(f"{path} is no page")
            self._memory = mmap.mmap(handle, layout.PAGE_BYTES)
        finally:
            os.close(handle)
        self._view = memoryview(self._memory)
        self.slots = self._view[: layout.SLOTS * 8].cast("d")
        if self.slots[layout.VERSION_SLOT] != layout.VERSION:
            self.close()
            raise ValueError(f"{path} is being made, or of another version")
        self.pid = int(self.slots[layout.PID])
        self.parent = int(self.slots[layout.PARENT])
        self.life = int(path.stem.rpartition("-")[2])
        """Which of the programs that this process was, one after the other; from 1."""
        self._cursor = 0
        self._rest = b""

    @property
    def is_worker(self) -> bool:
        """It belongs to a worker of a DataLoader, or to a loop that makes its batches itself."""
        return self.slots[layout.ROLE] == layout.WORKER

    def lines(self) -> Iterator[dict[str, Any]]:
        """What was said since the last call; lines that were written over meanwhile are left out."""
        end = int(self.slots[layout.RING_END])
        if end - self._cursor > layout.RING_BYTES // 2:
            # The writer may be about to write over the oldest: go on with a whole line of the newer half.
            self._cursor, self._rest = end - layout.RING_BYTES // 2, b""
            skip = True
        else:
            skip = False
        if end <= self._cursor:
            return
        start, length = self._cursor % layout.RING_BYTES, end - self._cursor
        ring = self._view[layout.SLOTS * 8 :]
        first = min(length, layout.RING_BYTES - start)
        text = self._rest + bytes(ring[start : start + first]) + bytes(ring[: length - first])
        self._cursor = end
        *whole, self._rest = text.split(b"\n")
        for line in whole[1:] if skip else whole:
            with contextlib.suppress(msgspec.DecodeError, UnicodeError):
                found = msgspec.json.decode(line)
                if isinstance(found, dict):
                    yield found

    def close(self) -> None:
        """Unmap the page."""
        self.slots.release()
        self._view.release()
        with contextlib.suppress(BufferError):
            self._memory.close()


def new_folder(label: str) -> Path:
    """A private folder in memory for the pages of a run's processes, owned by this process until it ends.

    Folders whose owner was killed are removed. Raises OSError.
    """
    home = Path("/dev/shm")  # noqa: S108 - a folder of its own is made below it, by mkdtemp
    if not home.is_dir() or shutil.disk_usage(home).free < 1 << 22:
        home = Path(tempfile.gettempdir())
    remove_left(home)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{label[-24:]}-", dir=home))
    acquire(folder / _OWNER)
    return folder


def remove_left(home: Path) -> None:
    """Remove the folders of pages in `home` that nobody reads any more: their supervisor was killed."""
    for folder in home.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            found = folder.lstat()  # a link of somebody else's may lead anywhere
            mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
            if mine and (folder / _OWNER).is_file() and not is_held(folder / _OWNER):
                PageFolder(folder).remove()


class PageFolder:
    """The pages of all processes of a script, those of ended processes included."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pages: dict[str, MappedPage] = {}

    def scan(self) -> list[MappedPage]:
        """Map pages that are new, and return all."""
        with contextlib.suppress(OSError):
            for entry in os.scandir(self.folder):
                if entry.name not in self._pages and entry.name.endswith(".page"):
                    # One that is being made is mapped the next time.
                    with contextlib.suppress(OSError, ValueError):
                        self._pages[entry.name] = MappedPage(Path(entry.path))
        return list(self._pages.values())

    def forget(self, page: MappedPage) -> None:
        """Drop the page of a worker that has ended, whose figures were taken."""
        for name, one in list(self._pages.items()):
            if one is page:
                del self._pages[name]
                page.close()
                with contextlib.suppress(OSError):
                    (self.folder / name).unlink()

    def remove(self) -> None:
        """Close all pages and remove their folder."""
        for page in self._pages.values():
            page.close()
        self._pages.clear()
        with contextlib.suppress(OSError):
            for entry in os.scandir(self.folder):
                Path(entry.path).unlink()
            self.folder.rmdir()
