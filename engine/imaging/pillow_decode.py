"""Decodes image files with Pillow to 8-bit RGB, and tells which files every other decoder shows with the same pixels.

Imports no torch: both engines decode with it what their own decoders cannot read or read differently.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from gputrain.engine.common.sanitize import plain
from gputrain.engine.imaging import grey_values, jpeg_damage, jpeg_header, orientation, planar_tiff
from gputrain.engine.imaging.decoding import DEFAULT_DECODING, Decoding
from gputrain.engine.imaging.pillow_errors import PILLOW_ERRORS

_HEAD_BYTES, _TAIL_BYTES = 1 << 17, 1 << 16
"""Start and end of a PNG, where its metadata are."""
MAX_PIXELS = 178_956_970
"""Images with more pixels count as decompression bombs: Pillow's limit for an error."""
_PNG = b"\x89PNG\r\n\x1a\n"
_MPF = b"MPF\0"
"""Begins the index of an MPO file."""
_MARKS = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp", b"acTL")
"""Chunks and keywords of a PNG that may have an orientation or an animation."""

Pixels = npt.NDArray[np.uint8]


class CannotDecodeError(ValueError):
    """The file is no image that can be decoded; the message is a phrase for the user."""


def is_plain(data: bytes) -> bool:
    """Whether a file is an upright, whole JPEG in grey or colour, or an upright PNG of at most 8 bits.

    JPEGs with further ones behind (MPO) are left out, since decoders do not notice that the first of them is damaged.

    Every decoder shows these with the same pixels. For all other files it is False, whatever they are.
    """
    if data.startswith(_PNG):
        # Metadata may precede or follow the pixels. The bit depth is at a fixed place.
        head, tail = data[:_HEAD_BYTES], data[-_TAIL_BYTES:]
        return len(head) > 24 and head[24] <= 8 and not any(mark in head or mark in tail for mark in _MARKS)
    header = jpeg_header.read_header(data)
    if header is None or header.orientation != 1 or data.find(_MPF, 0, header.scan_at) >= 0:
        return False
    # TensorFlow's crops of a JPEG that ends too early are grey below that place.
    return jpeg_header.end_of_image(data, header) > 0


def decode_upright(data: bytes, decoding: Decoding = DEFAULT_DECODING) -> Pixels:
    """Pixels (height, width, 3) of the first frame, upright unless `decoding` says otherwise.

    Raises CannotDecodeError.
    """
    return orientation.upright(*decode_stored(data, decoding))


def decode_stored(data: bytes, decoding: Decoding) -> tuple[Pixels, int]:
    """The stored pixels (height, width, 3) of the first frame, and the orientation to apply.

    Raises CannotDecodeError.
    """
    if not data:
        raise CannotDecodeError("the file is empty")
    borders = jpeg_header.borders(data)
    if borders.interrupted:
        raise CannotDecodeError("damaged: another JPEG begins before its end")
    if borders.end and jpeg_damage.has_jpeg_behind(data, borders.end) and jpeg_damage.ends_early(data):
        raise CannotDecodeError(jpeg_damage.ENDS_EARLY)
    if not borders.end and jpeg_damage.ends_in_zeros(data):
        raise CannotDecodeError(jpeg_damage.ENDS_IN_ZEROS)
    try:
        with Image.open(io.BytesIO(data)) as image:
            check_size(*image.size)
            if isinstance(image, TiffImageFile) and planar_tiff.is_planar(image):
                turn = 1 if decoding.as_stored else orientation.of_image(image)
                return planar_tiff.decode(image, data), turn
            image.load()
            pixels = _as_rgb(image, data, decoding)
            if borders.end and (pixels[-1] == pixels[-1, 0]).all() and jpeg_damage.ends_early(data):
                raise CannotDecodeError(jpeg_damage.ENDS_EARLY)
            return pixels, 1 if decoding.as_stored else orientation.of_image(image)
    except CannotDecodeError:
        raise
    except UnidentifiedImageError:
        raise CannotDecodeError("not an image of a known format") from None
    except PILLOW_ERRORS as error:
        raise CannotDecodeError(f"cannot be decoded: {plain(str(error), 200)}") from error


def check_size(width: int, height: int) -> None:
    """Raises CannotDecodeError for a decompression bomb."""
    if width * height > MAX_PIXELS:
        raise CannotDecodeError(f"{width} × {height} pixels, more than the limit of {MAX_PIXELS:,}")


def _as_rgb(image: Image.Image, data: bytes, decoding: Decoding) -> Pixels:
    """8-bit RGB of any mode. Transparency is dropped, as by torchvision's loader."""
    grey = grey_values.grey_values(image, data)
    if grey is not None:
        return np.repeat(grey_values.to_uint8(grey, decoding.value_range)[:, :, None], 3, axis=2)
    image.info.pop("transparency", None)
    # A copy: torch does not accept read-only memory.
    return np.array(image.convert("RGB"))
