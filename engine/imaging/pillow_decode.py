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

HEAD_BYTES, TAIL_BYTES = 1 << 17, 1 << 16
"""Start and end of a file for `is_plain`: two of the largest segments of a JPEG, and the last chunks of a PNG."""
_MAX_PIXELS = 178_956_970
"""Pillow's limit for decompression bombs."""
_PNG = b"\x89PNG\r\n\x1a\n"
_MARKS = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp", b"acTL")
"""Chunks and keywords of a PNG that may have an orientation or an animation."""
_ERRORS = (OSError, SyntaxError, ValueError, TypeError, ArithmeticError, LookupError, struct.error, zlib.error)
"""What Pillow's readers raise for damaged files."""


def is_plain(head: bytes, tail: bytes) -> bool:
    """Whether a file with this start and end is an upright JPEG in grey or colour, or an upright PNG of at most 8 bits.

    Every decoder shows these with the same pixels. For all other files it is False, whatever they are.
    """
    if head.startswith(_PNG):
        # Metadata may precede or follow the pixels. The bit depth is at a fixed place.
        return len(head) > 24 and head[24] <= 8 and not any(mark in head or mark in tail for mark in _MARKS)
    header = jpeg_header.read_header(head)
    return header is not None and header.orientation == 1 and b"tiff:Orientation" not in head


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
