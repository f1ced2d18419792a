"""A file of ``/proc`` or ``/sys`` that is read again and again."""

from __future__ import annotations

import os
from pathlib import Path


class ProcFile:
    """Kept open: reading again costs a tenth of opening, and a process's file can't become another process's."""

    def __init__(self, path: Path, size: int = 4096) -> None:
        """`size` is the most that is read at first; longer content is read as long as it is."""
        self._size = size
        self._handle: int | None = None
        try:
            self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            # Absent, or hidden from this user: the figure is then unknown.
            return

    def read(self) -> bytes:
        """The content now; empty where it can't be read (any more)."""
        if self._handle is None:
            return b""
        try:
            content = os.pread(self._handle, self._size, 0)
            while len(content) == self._size:
                self._size *= 2
                content = os.pread(self._handle, self._size, 0)
        except OSError:
            return b""
        return content

    def close(self) -> None:
        """Close it; idempotent."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
