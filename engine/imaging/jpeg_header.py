"""JPEG headers: frame size, sampling, Exif orientation; and cutting a JPEG to its upper rows before decoding."""

from __future__ import annotations

import struct
from typing import NamedTuple

_EXIF = b"Exif\x00\x00"
_ORIENTATION = 0x0112
_START_OF_SCAN = 0xDA
# Start-of-frame markers of Huffman-coded baseline, extended and progressive files. Pillow decodes all other kinds.
_FRAMES = (0xC0, 0xC1, 0xC2)


class JpegHeader(NamedTuple):
    """The frame of a JPEG file. Width and height are the stored ones, before `orientation` is applied."""

    width: int
    height: int
    components: int
    tall_sampling: int
    """The largest vertical sampling factor: 2 for 4:2:0, 1 for 4:4:4 and 4:2:2."""
    height_at: int
    """Offset of the two bytes of `height`."""
    scan_at: int
    """Offset of the first start-of-scan marker."""
    orientation: int
    """Exif's orientation, 1…8; 1 where there is none."""


def read_header(data: bytes) -> JpegHeader | None:
    """The header of a JPEG file. None if `data` is no JPEG, or one of a kind that the fast decoder does not support."""
    if data[:2] != b"\xff\xd8":
        return None
    at, orientation, frame = 2, 1, None
    try:
        while True:
            if data[at] != 0xFF:
                return None
            marker = data[at + 1]
            if marker == 0xFF:
                at += 1
                continue
            if marker == _START_OF_SCAN:
                break
            length = data[at + 2] << 8 | data[at + 3]
            if marker in _FRAMES:
                frame = at
            elif marker == 0xE1 and data[at + 4 : at + 10] == _EXIF:
                orientation = exif_orientation(data[at + 10 : at + 2 + length])
            elif 0xC3 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                return None
            at += 2 + length
        if frame is None:
            return None
        precision, height, width, components = struct.unpack_from(">BHHB", data, frame + 4)
        sampling = max((data[frame + 11 + 3 * n] & 15 for n in range(components)), default=0)
    except (IndexError, struct.error):
        return None
    if precision != 8 or not width or not height or components not in (1, 3) or sampling not in (1, 2):
        return None
    return JpegHeader(width, height, components, sampling, frame + 5, at, orientation)


def exif_orientation(tiff: bytes) -> int:
    """The orientation in an Exif block (without its ``Exif`` prefix), 1…8; 1 if it is missing or invalid."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == _ORIENTATION and kind == 3:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def is_whole(data: bytes, header: JpegHeader) -> bool:
    """Whether the end-of-image marker is there: a truncated file lacks it."""
    return data.rfind(b"\xff\xd9") > header.scan_at


def rows_for(header: JpegHeader, bottom: int) -> int:
    """Rows to decode so that those above `bottom` have the same pixels as in the whole image.

    One more row of MCUs than the crop needs: the smooth chroma upsampling reads one row below the last.
    """
    mcu = 8 * header.tall_sampling
    return min(header.height, (-(-bottom // mcu) + 1) * mcu)


def upper_part(data: bytes, header: JpegHeader, rows: int) -> bytes | bytearray:
    """`data` with its height set to `rows`, so that a decoder stops there.

    With random resized crops this saves about a seventh of the Huffman decoding, the largest cost of a JPEG.
    """
    if rows >= header.height:
        return data
    patched = bytearray(data)
    struct.pack_into(">H", patched, header.height_at, rows)
    return patched
