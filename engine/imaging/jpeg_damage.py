"""JPEGs whose compressed data end too early although an end marker follows: decoders fill the rest with grey.

libjpeg only warns of them, and Pillow shows no warning. A second decode finds out, for the few files that look
suspicious: those with another JPEG behind (MPO), and those that end in a row of the fill value.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import simplejpeg

ENDS_EARLY = "damaged: its compressed data end too early"
ENDS_IN_ZEROS = "damaged: zeros in place of its last compressed data"
_MISSING = re.compile("premature end|found marker 0xd9 instead")
_OWN_ZEROS = 3
"""Zeros in which compressed data may end by themselves."""
FILL = 128
"""The value of missing blocks in grey and colour pictures."""


def ends_early(data: bytes) -> bool:
    """Whether compressed data are missing before the end marker. Decodes the file at an eighth."""
    for colors in ("GRAY", "CMYK"):
        try:
            simplejpeg.decode_jpeg(data, colors, min_factor=8, strict=True)
        except ValueError as error:
            if means_missing_data(error):
                return True
        else:
            return False
    return False


def ends_in_zeros(data: bytes) -> bool:
    """Whether a JPEG without an end marker lacks compressed data before the zeros at its end.

    An interrupted download into a file of the full size leaves such files. Zeros are valid codes: no decoder notices.
    """
    kept = len(data.rstrip(b"\0")) + _OWN_ZEROS
    return data[:2] == b"\xff\xd8" and len(data) > kept and ends_early(data[:kept] + b"\xff\xd9")


def means_missing_data(error: ValueError) -> bool:
    """Whether simplejpeg's error of a strict decode stands for missing data; other warnings are harmless."""
    return _MISSING.search(str(error)) is not None


def has_jpeg_behind(data: bytes, end: int) -> bool:
    """Whether another JPEG begins at or after the offset `end`."""
    return len(data) - end > 2 and data.find(b"\xff\xd8\xff", end) >= 0


def ends_in_fill(pixels: npt.NDArray[np.uint8]) -> bool:
    """Whether the last row of the decoded pixels (height, width, channels) has the value of missing blocks."""
    last = pixels[-1]
    # Two values first: the comparison of a row takes microseconds.
    return bool(last[0, 0] == FILL and last[-1, 0] == FILL and (last == FILL).all())
