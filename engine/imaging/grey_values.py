"""Grey images of more than 8 bits: their true pixel values, and the mapping to 8 bits by one range for a whole set.

Pillow opens such images in the modes ``I;16``, ``I`` and ``F``, and changes some values: it scales PGM to 16 bits,
reads unsigned 32-bit and signed 8-bit TIFFs and 16-bit FITS with the wrong sign, and ignores that 0 is white
(MINISWHITE) and the scale of FITS.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

from gputrain.engine.configuration.value_range import ValueRange
from gputrain.engine.imaging import fits_header

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_MIN_IS_WHITE = 0
_SIGNED = 2
_BYTES_OF_I16 = 2
_COMMENT = rb"(?:#[^\r\n]*[\r\n])"
_SPACE = rb"(?:\s|" + _COMMENT + rb")+"
_PGM = re.compile(rb"P[25]" + 3 * (_SPACE + rb"(\d+)"))


class GreyValues(NamedTuple):
    """The true values of a deep grey image."""

    values: npt.NDArray[Any]
    """(height, width), of an integer or floating-point type."""
    full: ValueRange
    """The range of the file's type: 0…65535 for 16 bits, 0…4095 for TIFFs of 12, 0…1 for floating point, 0…maxval for
    PGM."""
    white_is_zero: bool


def is_deep(image: Image.Image) -> bool:
    """Whether `image`, opened but not decoded, is a grey image of other than 8 unsigned bits."""
    return image.mode.startswith("I") or image.mode == "F" or _is_signed_byte(image)


def is_wide_colour(image: Image.Image) -> bool:
    """Whether `image`, opened but not decoded, has 16 bits per channel, of which Pillow keeps the upper 8."""
    tile = getattr(image, "tile", None)
    raw = str(tile[0].args) if tile else ""
    return image.mode in ("LA", "RGB", "RGBA", "RGBX") and ";16" in raw


def grey_values(image: Image.Image, data: bytes) -> GreyValues | None:
    """The true values of `image`, opened from `data` and decoded; None for images of 8 bits."""
    if not is_deep(image):
        return None
    values: npt.NDArray[Any] = np.asarray(image)
    if image.format == "FITS":
        return _of_fits(values, fits_header.scale(data))
    if image.mode == "F":
        # NaN marks missing pixels.
        return GreyValues(np.nan_to_num(values, posinf=np.inf, neginf=-np.inf), ValueRange(0, 1), _white_is_zero(image))
    if _is_signed_byte(image):
        return GreyValues(values.view(np.int8), ValueRange(-128, 127), _white_is_zero(image))
    if image.mode.startswith("I;16"):
        bits = image.tag_v2.get(_BITS_PER_SAMPLE, (16,))[0] if isinstance(image, TiffImagePlugin.TiffImageFile) else 16
        return GreyValues(values.astype(np.uint16), ValueRange(0, 2**bits - 1), _white_is_zero(image))
    if image.format == "PPM" and (header := _PGM.match(data)):
        largest = int(header[3])
        # The inverse of Pillow's scaling to 65535, which is exact.
        return GreyValues(np.rint(values * (largest / 65535)).astype(np.int32), ValueRange(0, largest), False)
    return _of_mode_i(image, values)


def _of_fits(values: npt.NDArray[Any], scale: fits_header.FitsScale) -> GreyValues:
    stored = values.view(np.int16) if values.dtype.itemsize == _BYTES_OF_I16 else values
    scaled = stored * scale.factor + scale.zero
    if not np.issubdtype(stored.dtype, np.integer):
        return GreyValues(np.nan_to_num(scaled, posinf=np.inf, neginf=-np.inf), ValueRange(0, 1), False)
    bits = 8 * stored.dtype.itemsize
    ends = sorted(end * scale.factor + scale.zero for end in (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    return GreyValues(scaled.astype(np.int64) if scale.keeps_integers else scaled, ValueRange(*ends), False)


def _of_mode_i(image: Image.Image, values: npt.NDArray[Any]) -> GreyValues:
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    bits = tags.get(_BITS_PER_SAMPLE, (32,))[0]
    if tags and tags.get(_SAMPLE_FORMAT, (1,))[0] != _SIGNED:
        return GreyValues(values.view(np.uint32), ValueRange(0, 2**bits - 1), _white_is_zero(image))
    full = ValueRange(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return GreyValues(values, full, _white_is_zero(image))


def _white_is_zero(image: Image.Image) -> bool:
    return isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == _MIN_IS_WHITE


def _is_signed_byte(image: Image.Image) -> bool:
    return (
        image.mode == "L"
        and isinstance(image, TiffImagePlugin.TiffImageFile)
        and image.tag_v2.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED
    )


def to_uint8(grey: GreyValues, value_range: ValueRange | None) -> npt.NDArray[np.uint8]:
    """8-bit grey (height, width): `value_range` is black and white; None: the full range of the file's type.

    Integers in a range of integers are divided evenly: 0…65535 is a shift by 8 bits, 0…4095 by 4. Others are rounded.
    """
    low, high = value_range or grey.full
    values = grey.values.clip(low, high).astype(np.float64) - low
    if np.issubdtype(grey.values.dtype, np.integer) and float(low).is_integer() and float(high).is_integer():
        levels = np.floor(values * (256 / (high - low + 1)))
    else:
        levels = np.rint(values * (255 / (high - low)))
    pixels = levels.clip(0, 255).astype(np.uint8)
    return 255 - pixels if grey.white_is_zero else pixels
