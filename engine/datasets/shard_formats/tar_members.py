"""The files in a tar archive, from its headers alone: where each begins, and what is damaged.

Reads ustar, GNU and PAX archives as Python's tarfile does, but goes on behind damage and reads no content. A header
costs a few microseconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from gputrain.engine.datasets.record_files.file_window import FileWindow

BLOCK = 512
_REGULAR = (b"0", b"\0", b"7")
_LONG_NAME, _PAX, _SPARSE = b"L", b"x", b"S"
_LONGEST_NAME = 1 << 20
_SEARCH = 1 << 20
"""Bytes of a read in the search for the header behind damage."""
_PACKED = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))


class TarMember(NamedTuple):
    """A regular file in an archive."""

    name: str
    start: int
    """Offset of its first header, in bytes."""
    offset: int
    """Offset of its content."""
    size: int


class TarDamage(NamedTuple):
    """A place that cannot be read."""

    offset: int
    why: str
    cut: TarMember | None = None
    """What is left of a regular file that is cut off."""


class TarFile:
    """An open archive. Reads with pread: the position of `handle` does not matter."""

    def __init__(self, handle: int, begin: int = 0, end: int | None = None) -> None:
        """`begin` and `end` are those of an archive inside a file, in bytes; None: the file's end."""
        self._handle, self._begin = handle, begin
        size = os.fstat(handle).st_size
        self._end = size if end is None else min(end, size)
        self._window = FileWindow(handle)

    def compression(self) -> str:
        """The name of the compression; empty for a plain archive."""
        start = self.read(self._begin, 8)
        return next((name for magic, name in _PACKED if start.startswith(magic)), "")

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from there; fewer at the end of the archive."""
        return self._window.read(offset, max(0, min(length, self._end - offset)))

    def members(self) -> Iterator[TarMember | TarDamage]:
        """The regular files in order, and the damage between them. Ends at the archive's end mark."""
        position = self._begin
        while True:
            block = self.read(position, BLOCK)
            if len(block) < BLOCK:
                if self._end <= self._begin:
                    yield TarDamage(self._begin, "the file is empty")
                elif block:
                    yield TarDamage(position, "cut off in a header")
                else:
                    yield TarDamage(position, "it has no end mark: it may be cut off")
                return
            if not block.strip(b"\0"):
                return
            found = self._member(position) if _is_header(block) else TarDamage(position, "no tar header")
            if isinstance(found, TarDamage):
                yield found
                following = self._next_header(position + BLOCK)
                if following is None:
                    return
                position = following
                continue
            member, position = found
            if member is not None:
                yield member

    def _member(self, start: int) -> tuple[TarMember | None, int] | TarDamage:
        """The file whose first header is at `start` (None: not a regular file), and the offset of the next header."""
        position, name, long_size = start, None, None
        while True:
            block = self.read(position, BLOCK)
            if len(block) < BLOCK:
                return TarDamage(start, "cut off in a header")
            if not _is_header(block):
                return TarDamage(position, "no tar header")
            kind, size = block[156:157], _number(block[124:136])
            content = position + BLOCK
            if kind in (_LONG_NAME, _PAX):
                if size > _LONGEST_NAME or content + size > self._end:
                    return TarDamage(start, "cut off in a header")
                if kind == _LONG_NAME:
                    name = _text(self.read(content, size))
                else:
                    name, long_size = _pax(self.read(content, size), name, long_size)
                position = content + _padded(size)
                continue
            size = size if long_size is None else long_size
            name = name or _name(block)
            if kind == _SPARSE:
                return TarDamage(start, f"{name}: a sparse file")
            # In the oldest format a folder is a file whose name ends with a slash.
            regular = kind in _REGULAR and not (kind == b"\0" and name.endswith("/"))
            if content + size > self._end:
                left = TarMember(name, start, content, max(0, self._end - content)) if regular else None
                return TarDamage(start, f"cut off in {name}: {content + size - self._end:,} bytes are missing", left)
            return (TarMember(name, start, content, size) if regular else None), content + _padded(size)

    def _next_header(self, position: int) -> int | None:
        while position + BLOCK <= self._end:
            chunk = os.pread(self._handle, min(_SEARCH, self._end - position), position)
            for begin in range(0, len(chunk) - BLOCK + 1, BLOCK):
                block = chunk[begin : begin + BLOCK]
                if block[257:262] == b"ustar" and _is_header(block):
                    return position + begin
            position += max(BLOCK, len(chunk) // BLOCK * BLOCK)
        return None


def member_name(handle: int, offset: int, blocks: int) -> str:
    """The name of the file whose content begins at `offset`, `blocks` behind its first header; empty if unreadable."""
    found = TarFile(handle)._member(offset - blocks * BLOCK)
    return "" if isinstance(found, TarDamage) or found[0] is None else found[0].name


def _is_header(block: bytes) -> bool:
    written = _number(block[148:156])
    total = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    # Some old programs add up signed bytes.
    return written in (total, total - 256 * sum(byte > 127 for byte in block))


def _number(field: bytes) -> int:
    """A number of a header: octal digits, or binary for large ones; -1 for anything else."""
    if field[0] in (0o200, 0o377):
        return int.from_bytes(field[1:], "big", signed=False) if field[0] == 0o200 else -1
    try:
        return int(field.split(b"\0", 1)[0].strip() or b"0", 8)
    except ValueError:
        return -1


def _name(block: bytes) -> str:
    name, prefix = _text(block[:100]), _text(block[345:500])
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _pax(records: bytes, name: str | None, size: int | None) -> tuple[str | None, int | None]:
    """Name and size of the records ``LENGTH KEY=VALUE\\n``; the given ones where they are absent."""
    position = 0
    while position < len(records):
        length, _, _ = records[position:].partition(b" ")
        if not length.isdigit() or not int(length):
            break
        key, _, value = records[position + len(length) + 1 : position + int(length) - 1].partition(b"=")
        if key == b"path":
            name = value.decode("utf-8", "surrogateescape").rstrip("/")
        elif key == b"size" and value.isdigit():
            size = int(value)
        position += int(length)
    return name, size


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
