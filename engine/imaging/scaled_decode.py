"""At what fraction of its size a JPEG is decoded for a sample, and where in the stored, smaller image the sample lies.

libjpeg decodes at 1/2, 1/4 and 1/8 from the upper left corner of the *stored* image: a pixel stands for a square of the
image that begins at a multiple of 2, 4 or 8, and what Exif says of orientation comes later. A box that begins between
two such pixels would come out displaced, so its first pixels are sought outside it, where they meet.
"""

from __future__ import annotations

import math

from gputrain.engine.dataloading.random_resized_crop import CropGeometry

MOST_BEFORE = 16
"""Pixels of the result that may be computed before its first one and thrown away; two or three are, on average."""
NEAR = 1 / 16
"""By how much of a decoded pixel a box may be displaced: a sample has no more pixels than its box, so by less of one
of its own."""


def as_stored(geometry: CropGeometry, orientation: int, width: int, height: int, size: int | None) -> CropGeometry:
    """Where in the stored image a part of the upright one lies, which is `width` × `height`.

    The inverse of `decode.upright`: mirrored and turned back. A square of `size` of the part is kept, or all.
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


def shrink(geometry: CropGeometry) -> int:
    """The largest of 1, 2, 4 and 8 by which an image can be divided and still have the pixels that are asked for.

    Powers of two only: libjpeg-turbo has fast code for no others.
    """
    ratio = min(geometry.width / geometry.resized_width, geometry.height / geometry.resized_height)
    return 8 if ratio >= 8 else 4 if ratio >= 4 else 2 if ratio >= 2 else 1


def aligned(geometry: CropGeometry) -> tuple[CropGeometry, int]:
    """A part of the stored image that begins at multiples of a factor, and that factor; what is kept stays the same.

    Where a box begins between two decoded pixels, the part is larger by as many pixels of the result as it takes to
    begin at one. Where that would take too many or lead out of the image, the factor is halved, down to 1, which
    always fits.
    """
    factor = shrink(geometry)
    while factor > 1:
        across = _begun(geometry.left, geometry.width / geometry.resized_width, factor)
        down = _begun(geometry.top, geometry.height / geometry.resized_height, factor)
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


def _begun(start: int, step: float, factor: int) -> tuple[int, int] | None:
    """A multiple of `factor` that lies a whole number of steps before `start`, and that number; None if none does.

    `step` is the stretch of the image that a pixel of the result shows.
    """
    for more in range(min(MOST_BEFORE, int(start / step)) + 1):
        exact = (start - more * step) / factor
        nearest = round(exact)
        if abs(exact - nearest) <= NEAR:
            return nearest * factor, more
    return None


def stretch(start: int, length: int, factor: int, limit: int) -> tuple[int, int]:
    """First and last (exclusive) decoded pixel that a stretch of the image touches, of `limit` that there are."""
    return start // factor, min(limit, math.ceil((start + length) / factor))
