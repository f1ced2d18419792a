"""Scaled JPEG decoding: the fraction at which a crop is decoded, and the crop's place in the smaller image.

libjpeg decodes at 1/2, 1/4 and 1/8 from the upper left corner of the *stored* image: one decoded pixel covers a square
that begins at a multiple of 2, 4 or 8. Exif orientation is applied afterwards. A crop that begins between two decoded
pixels would be displaced, so it is extended to a start where both grids meet.
"""

from __future__ import annotations

import math

from gputrain.engine.configuration.sections.data_settings import Interpolation
from gputrain.engine.dataloading.random_resized_crop import CropGeometry

MAX_EXTRA = 16
"""Extra pixels that may be computed before the result's first one and dropped; the average is two or three."""
TOLERANCE = 1 / 16
"""Allowed displacement of a box, in decoded pixels. A sample has at most as many pixels as its box, so the displacement
in the sample's pixels is smaller."""


def as_stored(geometry: CropGeometry, orientation: int, width: int, height: int, size: int | None) -> CropGeometry:
    """The place in the stored image of a part of the upright image, which is `width` × `height`.

    The inverse of `orientation.upright`. A square of `size` pixels of the part is kept; None: all of it.
    """
    if orientation == 1:
        return geometry
    left, top, wide, high, resized_width, resized_height, kept_left, kept_top = geometry
    columns, rows = (resized_width, resized_height) if size is None else (size, size)
    if orientation in (2, 3, 6, 7):
        left, kept_left = width - left - wide, resized_width - kept_left - columns
    if orientation in (3, 4, 7, 8):
        top, kept_top = height - top - high, resized_height - kept_top - rows
    if orientation >= 5:
        return CropGeometry(top, left, high, wide, resized_height, resized_width, kept_top, kept_left)
    return CropGeometry(left, top, wide, high, resized_width, resized_height, kept_left, kept_top)


def shrink(geometry: CropGeometry, spare: int = 1) -> int:
    """The largest of 1, 2, 4 and 8 by which the image can be divided and still have `spare` times the result's pixels
    in each direction.

    Only powers of two: libjpeg-turbo has fast code for these alone.
    """
    ratio = min(geometry.width / geometry.resized_width, geometry.height / geometry.resized_height) / spare
    return 8 if ratio >= 8 else 4 if ratio >= 4 else 2 if ratio >= 2 else 1


def spare_of(interpolation: Interpolation) -> int:
    """How many times the result's pixels a smaller image must have in each direction.

    libjpeg's scaling averages squares, which is near to bilinear. Bicubic needs pixels left to weigh.
    """
    return 2 if interpolation == "bicubic" else 1


def aligned(geometry: CropGeometry, interpolation: Interpolation = "bilinear") -> tuple[CropGeometry, int]:
    """A part of the stored image that begins at multiples of a factor, and that factor. The result stays the same.

    A box that begins between two decoded pixels is extended by whole pixels of the result until it begins at one.
    Where that needs too many or leaves the image, the factor is halved, down to 1, which always fits.
    """
    factor = shrink(geometry, spare_of(interpolation))
    while factor > 1:
        across = _aligned_start(geometry.left, geometry.width / geometry.resized_width, factor)
        down = _aligned_start(geometry.top, geometry.height / geometry.resized_height, factor)
        if across is not None and down is not None:
            (left, more_left), (top, more_above) = across, down
            larger = CropGeometry(
                left=left,
                top=top,
                width=geometry.left + geometry.width - left,
                height=geometry.top + geometry.height - top,
                resized_width=geometry.resized_width + more_left,
                resized_height=geometry.resized_height + more_above,
                kept_left=geometry.kept_left + more_left,
                kept_top=geometry.kept_top + more_above,
            )
            return larger, factor
        factor //= 2
    return geometry, 1


def _aligned_start(start: int, step: float, factor: int) -> tuple[int, int] | None:
    """A multiple of `factor` a whole number of steps before `start`, and that number; None if there is none.

    `step` is the length in the image that one pixel of the result covers.
    """
    for more in range(min(MAX_EXTRA, int(start / step)) + 1):
        exact = (start - more * step) / factor
        nearest = round(exact)
        if abs(exact - nearest) <= TOLERANCE:
            return nearest * factor, more
    return None


def decoded_range(start: int, length: int, factor: int, limit: int) -> tuple[int, int]:
    """First and last (exclusive) decoded pixel that a range of the image touches; at most `limit`."""
    return start // factor, min(limit, math.ceil((start + length) / factor))
