"""Pages of a Parquet column of byte strings: their headers, and where each value lies. pyarrow only decompresses.

pyarrow reads whole row groups; one image of a hundred would cost a hundred. See apache/parquet-format: parquet.thrift,
Encodings.md.
"""

from __future__ import annotations

import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from gputrain.engine.datasets.record_files import thrift_compact

DATA, DICTIONARY, DATA_V2 = 0, 2, 3
"""Types of pages."""
PLAIN, _DICTIONARY_ENCODINGS = 0, (2, 8)
_CODECS = {"LZ4": "lz4_raw", "LZ4_RAW": "lz4_raw"}
"""Parquet's names of codecs where pyarrow has other ones."""
_LARGEST_PAGE = 1 << 30
_KEPT_PAGES = 2
"""Decompressed pages that a thread keeps: a page of values, and the dictionary."""
Value = TypeVar("Value")
_SMALL_HEADER, _LARGEST_HEADER = 256, 1 << 20

Read = Callable[[int, int], bytes]
"""Bytes from (offset, length); fewer at the end."""
Span = tuple[int, int]
"""Offset and length of a value."""


class PageHeader(NamedTuple):
    """A page's header."""

    kind: int
    content: int
    """Offset of the page's content."""
    size: int
    """Its bytes in the file."""
    unpacked: int
    """Its bytes decompressed."""
    values: int
    encoding: int
    level_bytes: tuple[int, int] = (0, 0)
    """DATA_V2: bytes of the repetition and of the definition levels, which are not compressed."""
    packed: bool = True
    """DATA_V2: whether the values are compressed."""

    @property
    def end(self) -> int:
        """Offset of the next page's header."""
        return self.content + self.size


def read_header(read: Read, offset: int) -> PageHeader:
    """The header of the page that begins at `offset`. Raises ValueError."""
    length = _SMALL_HEADER
    while True:
        data = read(offset, length)
        try:
            fields, used = thrift_compact.struct(data, 0)
            break
        except IndexError:
            if len(data) < length or length >= _LARGEST_HEADER:
                raise ValueError("no page header") from None
            length *= 8
    try:
        kind, unpacked, size = fields[1], fields[2], fields[3]
        if kind == DATA_V2:
            own = fields[8]
            levels, packed = (own[6], own[5]), own.get(7, True)
            return PageHeader(kind, offset + used, size, unpacked, own[1], own[4], levels, packed)
        own = fields.get(5) if kind == DATA else fields.get(7)
        values, encoding = (own[1], own[2]) if own else (0, PLAIN)
    except (KeyError, TypeError):
        raise ValueError("no page header") from None
    if not 0 <= size <= _LARGEST_PAGE or not 0 <= unpacked <= _LARGEST_PAGE:
        raise ValueError("a page of more than 1 GiB")
    return PageHeader(kind, offset + used, size, unpacked, values, encoding)


def presence(header: PageHeader, read: Read, at: int, level: int) -> tuple[list[bool], int]:
    """Which rows of a page have a value, and the offset of the values. `level`: the definition level of a value."""
    if header.kind == DATA_V2:
        repetition, definition = header.level_bytes
        at += repetition
        levels = read(at, definition) if level else b""
        at += definition
    elif level:
        length = _word(read, at)
        levels = read(at + 4, length)
        at += 4 + length
    if not level:
        return [True] * header.values, at
    return [found == level for found in hybrid(levels, level.bit_length(), header.values)], at


def spans(header: PageHeader, read: Read, at: int, end: int, count: int) -> list[Span]:
    """Where the `count` plain values from `at` lie. Raises ValueError if they go beyond `end`."""
    if header.encoding != PLAIN and not (header.kind == DICTIONARY and header.encoding in _DICTIONARY_ENCODINGS):
        raise ValueError(f"encoding {header.encoding} of images; write them as PLAIN")
    found = []
    for _ in range(count):
        length = _word(read, at)
        at += 4
        found.append((at, length))
        at += length
        if at > end:
            raise ValueError("a value goes beyond its page")
    return found


def is_coded(header: PageHeader) -> bool:
    """Whether the page holds numbers of values in a dictionary."""
    return header.kind != DICTIONARY and header.encoding in _DICTIONARY_ENCODINGS


def codes(read: Read, at: int, end: int, count: int) -> list[int]:
    """The numbers of `count` values in the dictionary."""
    width = read(at, 1)
    if not width:
        raise ValueError("an empty page")
    return hybrid(read(at + 1, end - at - 1), width[0], count)


def hybrid(data: bytes, width: int, count: int) -> list[int]:
    """`count` numbers of `width` bits in Parquet's mix of runs and packed bits. Raises ValueError."""
    found: list[int] = []
    position, run_bytes = 0, (width + 7) // 8
    mask = (1 << width) - 1
    try:
        while len(found) < count:
            head, position = thrift_compact.varint(data, position)
            if head & 1:
                size = (head >> 1) * width
                bits = int.from_bytes(data[position : position + size], "little")
                found += [bits >> (number * width) & mask for number in range(min((head >> 1) * 8, count - len(found)))]
                position += size
            else:
                value = int.from_bytes(data[position : position + run_bytes], "little")
                found += [value] * min(head >> 1, count - len(found))
                position += run_bytes
    except IndexError:
        raise ValueError("levels are cut off") from None
    return found


class PagedValue(NamedTuple):
    """The place of a value in a compressed page."""

    page: tuple[int, int]
    """Its shard, and the offset of the page's header."""
    back: int
    """Bytes back to the header of the dictionary's page; 0: none."""
    row: int
    """Its row in the page."""
    codec: str
    level: int


class _Page(NamedTuple):
    body: bytes
    spans: Sequence[Span | None]
    codes: Sequence[int | None] | None = None


class PageCache(threading.local):
    """The last pages that a thread decompressed: consecutive rows stand in one page."""

    def __init__(self) -> None:
        self._pages: OrderedDict[tuple[int, int], _Page] = OrderedDict()

    def value(self, handle: int, place: PagedValue) -> bytes | None:
        """A value; None if the row has none. Raises ValueError or LookupError for a damaged page."""
        page = self._page(handle, place.page, place)
        if page.codes is not None:
            code = page.codes[place.row]
            if code is None:
                return None
            page = self._page(handle, (place.page[0], place.page[1] - place.back), place)
            found = page.spans[code]
        else:
            found = page.spans[place.row]
        return None if found is None else page.body[found[0] : found[0] + found[1]] or None

    def _page(self, handle: int, key: tuple[int, int], place: PagedValue) -> _Page:
        page = self._pages.get(key)
        if page is None:
            page = _unpacked(handle, key[1], place.codec, place.level)
            while len(self._pages) >= _KEPT_PAGES:
                self._pages.popitem(last=False)
            self._pages[key] = page
        self._pages.move_to_end(key)
        return page


def _unpacked(handle: int, offset: int, codec: str, level: int) -> _Page:
    header = read_header(lambda at, length: os.pread(handle, length, at), offset)
    data = os.pread(handle, header.size, header.content)
    if len(data) < header.size:
        raise ValueError("the page is cut off")
    body = _decompressed(data, header, codec)

    def read(at: int, length: int) -> bytes:
        return body[at : at + length]

    if header.kind == DICTIONARY:
        return _Page(body, spans(header, read, 0, len(body), header.values))
    present, at = presence(header, read, 0, level)
    count = sum(present)
    if is_coded(header):
        return _Page(body, (), _in_rows(present, codes(read, at, len(body), count)))
    return _Page(body, _in_rows(present, spans(header, read, at, len(body), count)))


def _in_rows(present: Sequence[bool], values: Sequence[Value]) -> list[Value | None]:
    """The values by row, None where a row has none."""
    following = iter(values)
    return [next(following) if here else None for here in present]


def _decompressed(data: bytes, header: PageHeader, codec: str) -> bytes:
    levels = sum(header.level_bytes)
    if header.kind == DATA_V2 and not header.packed:
        return data
    import pyarrow as pa

    size = header.unpacked - levels
    try:
        values: bytes = pa.decompress(data[levels:], size, _CODECS.get(codec, codec.lower()), asbytes=True)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(str(error)) from None
    return data[:levels] + values


def _word(read: Read, at: int) -> int:
    data = read(at, 4)
    if len(data) < 4:
        raise ValueError("the page is cut off")
    return int(struct.unpack("<I", data)[0])
