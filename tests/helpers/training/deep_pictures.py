"""Deep grey pictures with known values, written byte by byte: TIFF of any type and layout, PGM."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

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
    offsets = [8 + sum(map(len, content[:number])) for number in range(len(content))]
    body = b"".join(content)
    body += b"\0" * (len(body) % 2)
    count, bits = len(planes), 8 * planes[0].dtype.itemsize
    tags = [
        (256, 4, (width,)), (257, 4, (height,)), (258, 3, (bits,) * count), (259, 3, (1,)), (262, 3, (photometric,)),
        (273, 4, tuple(offsets)), (277, 3, (count,)), (278, 4, (height,)), (279, 4, tuple(map(len, content))),
        (284, 3, (2 if separate else 1,)), (339, 3, (_FORMATS[planes[0].dtype.kind],) * count), *extra,
    ]  # fmt: skip
    start = 8 + len(body)
    behind, rows, tail = start + 2 + 12 * len(tags) + 4, b"", b""
    for number, kind, values in sorted(tags):
        packed = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
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
