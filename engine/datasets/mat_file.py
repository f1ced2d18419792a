"""Reader of MATLAB's MAT-files of level 5: numeric arrays (head-pose annotations), and tables (ImageNet's classes).

Written from MathWorks' "MAT-File Format" (level 5): a header of 128 bytes, then elements of a tag and data, each padded
to eight bytes; a variable is an element of elements, and may be compressed by zlib. Only requested variables are
decompressed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""NumPy types by the format's type number."""
_NUMERIC_CLASSES = range(6, 16)
"""Classes of arrays that hold numbers: double to uint64."""
_STRUCT_CLASS, _CHAR_CLASS = 2, 4
_UTF8 = 16
_TEXTS = {4: "utf-16-{}", 17: "utf-16-{}", 18: "utf-32-{}"}
"""Encodings of texts by the format's type number; others are UTF-8."""
_DAMAGE = (struct.error, zlib.error, ValueError, KeyError, StopIteration)
_START = 256
"""Leading bytes of a compressed variable that contain its name."""


class BadMatFile(ValueError):  # noqa: N818 - reads as what it is
    """The file is no MAT-file of level 5, or is damaged."""


def read(path: Path, names: Collection[str]) -> dict[str, npt.NDArray[Any]]:
    """The real numeric arrays called `names` that the file has, by name. Raises BadMatFile or OSError."""
    data = path.read_bytes()
    order = _byte_order(data)
    found: dict[str, npt.NDArray[Any]] = {}
    try:
        for variable in _variables(data, names, order):
            _take(variable, names, order, found)
    except _DAMAGE as error:
        raise BadMatFile(f"damaged: {error}") from None
    return found


def read_table(data: bytes, name: str) -> list[dict[str, str | float]]:
    """The rows of the struct array called `name` in a file's content: by field, texts and single real numbers.

    Fields of other types are left out. Raises BadMatFile, also if there is no such variable.
    """
    order = _byte_order(data)
    try:
        for variable in _variables(data, (name,), order):
            rows = _rows(variable, name, order)
            if rows is not None:
                return rows
    except (*_DAMAGE, UnicodeError) as error:
        raise BadMatFile(f"damaged: {error}") from None
    raise BadMatFile(f"it has no table '{name}'")


def _byte_order(data: bytes) -> str:
    if len(data) < _HEADER or data[126:128] not in (b"IM", b"MI"):
        raise BadMatFile("not a MAT-file of level 5 (save it with -v7 or older)")
    return "<" if data[126:128] == b"IM" else ">"


def _variables(data: bytes, names: Collection[str], order: str) -> Iterator[bytes]:
    """The variables, without their tags; compressed ones only if they are in `names`."""
    for kind, content in _elements(data[_HEADER:], order):
        variable = _unpacked(content, names, order) if kind == _COMPRESSED else content if kind == _MATRIX else b""
        if variable:
            yield variable


def _rows(variable: bytes, wanted: str, order: str) -> list[dict[str, str | float]] | None:
    """The rows of a variable; None if it has another name, or is no struct array."""
    parts = _elements(variable, order)
    flags = struct.unpack(f"{order}II", next(parts)[1])[0]
    shape = np.frombuffer(next(parts)[1], f"{order}i4")
    name = next(parts)[1].decode("latin1")
    if name != wanted or flags & 0xFF != _STRUCT_CLASS:
        return None
    (width,) = struct.unpack(f"{order}i", next(parts)[1])
    packed = next(parts)[1]
    fields = [packed[at : at + width].split(b"\0")[0].decode("latin1") for at in range(0, len(packed), width)]
    rows: list[dict[str, str | float]] = []
    for _ in range(int(np.prod(shape))):
        values = {field: _value(next(parts)[1], order) for field in fields}
        rows.append({field: value for field, value in values.items() if value is not None})
    return rows


def _value(matrix: bytes, order: str) -> str | float | None:
    """The text or number of a field; None for anything else."""
    if not matrix:
        return None
    parts = _elements(matrix, order)
    kind = struct.unpack(f"{order}II", next(parts)[1])[0] & 0xFF
    size = int(np.prod(np.frombuffer(next(parts)[1], f"{order}i4")))
    next(parts)  # no name
    if kind == _CHAR_CLASS:
        stored, content = next(parts, (_UTF8, b""))
        return content.decode(_TEXTS.get(stored, "utf-8").format("le" if order == "<" else "be"))
    if kind not in _NUMERIC_CLASSES or size != 1:
        return None
    stored, content = next(parts)
    return float(np.frombuffer(content, order + _NUMBERS[stored])[0])


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and data of each element."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:
            # The small form: size, type and up to four bytes of data in eight.
            yield kind & 0xFFFF, data[at + 4 : at + 4 + (kind >> 16)]
            at += 8
            continue
        if at + 8 + size > len(data):
            raise ValueError("it ends in the middle of an element")
        yield kind, data[at + 8 : at + 8 + size]
        at += 8 + size + (0 if kind == _COMPRESSED else -size % 8)


def _unpacked(packed: bytes, names: Collection[str], order: str) -> bytes:
    """A decompressed variable without its tag; empty if its name is not in `names`."""
    start = zlib.decompressobj().decompress(packed, _START)
    if _name(start[8:], order) not in names:
        return b""
    return zlib.decompress(packed)[8:]


def _name(start: bytes, order: str) -> str:
    """The name of the variable that begins with `start`."""
    at = 0
    for position in range(3):
        kind, size = struct.unpack_from(f"{order}II", start, at)
        small = kind >> 16
        if position == 2:
            name = start[at + 4 : at + 4 + small] if small else start[at + 8 : at + 8 + size]
            return name.decode("latin1")
        at += 8 if small else 8 + size + -size % 8
    raise ValueError("a variable without a name")


def _take(variable: bytes, names: Collection[str], order: str, found: dict[str, npt.NDArray[Any]]) -> None:
    """Add the variable to `found` if it is a real numeric array and its name is in `names`."""
    parts = _elements(variable, order)
    flags = struct.unpack(f"{order}II", next(parts)[1])[0]
    shape = np.frombuffer(next(parts)[1], f"{order}i4")
    name = next(parts)[1].decode("latin1")
    if name not in names or flags & 0xFF not in _NUMERIC_CLASSES or flags & 0x800:
        return
    kind, content = next(parts)
    numbers = np.frombuffer(content, order + _NUMBERS[kind])
    found[name] = numbers.reshape(tuple(shape.tolist()), order="F")
