"""Image orientation: the one function that decides how a picture is turned, and the turning of pixels.

The orientation is that of Pillow's `ImageOps.exif_transpose`: the Exif tag in any numeric type, else XMP's.
"""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from gputrain.engine.imaging.pillow_errors import PILLOW_ERRORS

_TAG = 0x0112
_SHORT = 3


def of_image(image: Image.Image) -> int:
    """The orientation of an opened image, 1…8; 1 if it has none, or an invalid one.

    TIFFs are upright (1) once they are loaded: Pillow turns them then.
    """
    try:
        value: Any = image.getexif().get(ExifTags.Base.Orientation, 1)
    except PILLOW_ERRORS:
        return 1
    return int(value) if value in range(1, 9) else 1


def of_jpeg(exif: bytes, xmp: bytes) -> int:
    """The orientation of a JPEG with these Exif data (without their ``Exif`` prefix) and XMP data; as `of_image`."""
    value, plain = _plain_entry(exif) if exif else (None, True)
    if value is not None:
        return value if 1 <= value <= 8 else 1
    if plain and b"tiff:Orientation" not in xmp:
        return 1
    # Anything unusual is left to Pillow: tags of other types, XMP, damaged data.
    image = Image.new("1", (1, 1))
    if exif:
        image.info["exif"] = b"Exif\0\0" + exif
    if xmp:
        image.info["xmp"] = xmp
    return of_image(image)


def _plain_entry(exif: bytes) -> tuple[int | None, bool]:
    """The orientation if it stands there once, as a SHORT; else None, and whether there is no such tag at all."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return None, False
    found = []
    # Of a damaged directory the entries before the damage count.
    with contextlib.suppress(struct.error):
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (entries,) = struct.unpack_from(f"{order}H", exif, start)
        for at in range(start + 2, start + 2 + 12 * entries, 12):
            tag, *entry, _ = struct.unpack_from(f"{order}HHIHH", exif, at)
            if tag == _TAG:
                found.append(entry)
    if len(found) == 1 and found[0][:2] == [_SHORT, 1]:
        return found[0][2], True
    return None, not found


def upright(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """A view of stored `pixels` (height, width, 3), turned by `orientation`."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
