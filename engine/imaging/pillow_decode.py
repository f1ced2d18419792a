"""Decodes image files with Pillow, upright and as 8-bit RGB, and tells which files a plain decoder shows the same way.

Imports no torch: it serves the Keras engine for what TensorFlow cannot read or reads differently.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from gputrain.engine.common.sanitize import plain
from gputrain.engine.imaging import jpeg_header

HEAD_BYTES = 1 << 17
"""Start of a file that `is_plain` needs: two segments of the largest size in a JPEG."""
_MAX_PIXELS = 178_956_970
"""Pillow's limit for decompression bombs."""
_PNG = b"\x89PNG\r\n\x1a\n"
_EXTRA = (b"eXIf", b"iTXt", b"zTXt", b"tEXt", b"acTL")
"""PNG chunks that may contain an orientation or an animation."""
_ERRORS = (OSError, SyntaxError, ValueError, TypeError, ArithmeticError, LookupError, struct.error, zlib.error)
"""What Pillow's readers raise for damaged files."""


def is_plain(head: bytes) -> bool:
    """Whether a file that starts with `head` is an upright JPEG in grey or colour, or a plain PNG of at most 8 bits.

    Every decoder shows these with the same pixels. For all other files it is False, whatever they are.
    """
    if head.startswith(_PNG):
        return _is_plain_png(head)
    header = jpeg_header.read_header(head)
    return header is not None and header.orientation == 1 and b"http://ns.adobe.com/xap" not in head


def _is_plain_png(head: bytes) -> bool:
    if len(head) < 33 or head[24] > 8:
        return False
    at = len(_PNG)
    while at + 8 <= len(head):
        length, kind = int.from_bytes(head[at : at + 4], "big"), head[at + 4 : at + 8]
        if kind == b"IDAT":
            # Metadata may also follow the pixels; Pillow reads the orientation from either place.
            return not any(mark in head[at + 12 + length :] for mark in _EXTRA)
        if kind in _EXTRA:
            return False
        at += 12 + length
    return False


def decode_upright(data: bytes) -> npt.NDArray[np.uint8]:
    """Pixels (height, width, 3) of the first frame; transparency is dropped, deep grey images are scaled to 8 bits.

    Raises ValueError with the reason for files that can't be decoded.
    """
    if not data:
        raise ValueError("the file is empty")
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise ValueError(f"{image.width} × {image.height} pixels, more than the limit of {_MAX_PIXELS:,}")
            image.load()
            return _as_rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise ValueError(plain(str(error), 200)) from None
    except UnidentifiedImageError:
        raise ValueError("not an image of a known format") from None
    except _ERRORS as error:
        raise ValueError(f"cannot be decoded: {plain(str(error), 200)}") from error


def _as_rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode.startswith("I;16"):
        return _grey(np.asarray(image).astype(np.uint16) >> 8)
    if image.mode == "I":
        wide = np.asarray(image)
        return _grey(wide >> 8 if wide.max(initial=0) > 255 else wide)
    image.info.pop("transparency", None)
    return np.array(image.convert("RGB"))


def _grey(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.repeat(values.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
