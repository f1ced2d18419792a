"""Deep grey pictures with known values, written byte by byte: TIFF of any type and layout, PGM."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from helpers.training.pictures import encoded

Plane = npt.NDArray[Any]

_FORMATS = {"u": 1, "i": 2, "f": 3}


def tiff(
    planes: Sequence[Plane],
    *,
    photometric: int = 1,
    separate: bool = False,
    order: Literal["<", ">"] = "<",
    extra: Sequence[tuple[int, int, tuple[int, ...]]] = (),
) -> bytes:
    """An uncompressed TIFF of equal planes (height, width). `extra`: tags as (number, type, values)."""
    height, width = planes[0].shape
    dtype = planes[0].dtype.newbyteorder(order)
    content = (
        [p.astype(dtype).tobytes() for p in planes] if separate else [np.stack(planes, -1).astype(dtype).tobytes()]
    )
    bits = 8 * planes[0].dtype.itemsize
    layout, kind = 2 if separate else 1, _FORMATS[planes[0].dtype.kind]
    tags = [
        (258, 3, (bits,) * len(planes)), (262, 3, (photometric,)), (277, 3, (len(planes),)), (284, 3, (layout,)),
        (339, 3, (kind,) * len(planes)), *extra,
    ]  # fmt: skip
    return _written(width, height, content, tags, order)


def packed_12_bits(values: Plane) -> bytes:
    """A TIFF of 12-bit values (height, even width), two in three bytes."""
    height, width = values.shape
    first, second = values[:, ::2].astype(int), values[:, 1::2].astype(int)
    packed = np.stack((first >> 4, (first & 15) << 4 | second >> 8, second & 255), -1).astype(np.uint8)
    return _written(width, height, [packed.tobytes()], [(258, 3, (12,)), (262, 3, (1,)), (277, 3, (1,))], "<")


Tag = tuple[int, int, tuple[int, ...]]


def _written(width: int, height: int, content: list[bytes], own: Sequence[Tag], order: Literal["<", ">"]) -> bytes:
    """The TIFF of `content`, one strip each, with its `own` tags and those of size and place."""
    offsets = [8 + sum(map(len, content[:number])) for number in range(len(content))]
    body = b"".join(content)
    body += b"\0" * (len(body) % 2)
    tags = [
        (256, 4, (width,)), (257, 4, (height,)), (259, 3, (1,)), (273, 4, tuple(offsets)), (278, 4, (height,)),
        (279, 4, tuple(map(len, content))), *own,
    ]  # fmt: skip
    start = 8 + len(body)
    behind, rows, tail = start + 2 + 12 * len(tags) + 4, b"", b""
    for number, kind, values in sorted(tags):
        code = {1: "B", 3: "H"}.get(kind, "I")
        packed = struct.pack(f"{order}{len(values)}{code}", *values)
        if len(packed) > 4:
            place, tail = struct.pack(f"{order}I", behind + len(tail)), tail + packed
        else:
            place = packed.ljust(4, b"\0")
        rows += struct.pack(f"{order}HHI", number, kind, len(values)) + place
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return head + body + struct.pack(f"{order}H", len(tags)) + rows + struct.pack(f"{order}I", 0) + tail


def pgm(values: Plane, largest: int, *, ascii_: bool = False, comment: bytes = b"") -> bytes:
    """A PGM of `values` (height, width), whose white is `largest`."""
    height, width = values.shape
    head = b"P%d\n%s%d %d\n%d\n" % (2 if ascii_ else 5, comment, width, height, largest)
    if ascii_:
        return head + b" ".join(b"%d" % value for value in values.ravel()) + b"\n"
    return head + values.astype(">u2" if largest > 255 else "u1").tobytes()


def values(high: int, low: int = 0, shape: tuple[int, int] = (9, 7)) -> Plane:
    """Random values with both extremes."""
    found = np.random.default_rng(high).integers(low, high, shape, endpoint=True)
    found.flat[:2] = low, high
    return found


def png16(given: Plane) -> bytes:
    return encoded(Image.fromarray(given.astype(np.uint16)), "PNG")


def fits(stored: Plane, **cards: float) -> bytes:
    """A FITS file of these stored numbers, with cards such as BZERO: big-endian, the lowest row first."""
    bits = 8 * stored.dtype.itemsize * (-1 if stored.dtype.kind == "f" else 1)
    rows, columns = stored.shape
    head = {"SIMPLE": "T", "BITPIX": bits, "NAXIS": 2, "NAXIS1": columns, "NAXIS2": rows, **cards}
    text = "".join(f"{key:8}= {value!s:>20} / a comment".ljust(80) for key, value in head.items()) + "END".ljust(80)
    pixels = stored[::-1].astype(stored.dtype.newbyteorder(">")).tobytes()
    return b"".join(part + b" " * (-len(part) % 2880) for part in (text.encode(), pixels))
