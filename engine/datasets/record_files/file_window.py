"""FileWindow: many small reads of a file that lie close together, as few preads."""

from __future__ import annotations

import os


class FileWindow:
    """Reads with pread: the position of `handle` does not matter."""

    def __init__(self, handle: int, size: int = 4096) -> None:
        """`size`: bytes that are read at once."""
        self._handle, self._size = handle, size
        self._window, self._at = b"", 0

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from there; fewer at the end of the file. Raises OSError."""
        begin = offset - self._at
        if begin < 0 or begin + length > len(self._window):
            self._window, self._at, begin = os.pread(self._handle, max(length, self._size), offset), offset, 0
        return self._window[begin : begin + length]
