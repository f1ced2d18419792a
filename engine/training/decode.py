"""From the bytes of an image file to the pixels of a sample, written once: straight into its place in the batch.

JPEGs, nearly all there is, go through simplejpeg (libjpeg-turbo): only the rows down to the crop's bottom are decoded,
and large images at 1/2, 1/4 or 1/8 as long as the crop keeps at least the pixels that it will have. Everything else,
and whatever the fast way refuses, goes through Pillow, which so decides what is a bad image.

Crops are resized by torch's antialiased uint8 kernel. Against Pillow's decode and resize, as torchvision's reference
does it, pixels differ by 0.05 on average and by 2 at most; with scaled decoding by about 1 on average.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
import torch
from PIL import Image, UnidentifiedImageError

from gputrain.engine.text import plain
from gputrain.engine.training import jpegfile
from gputrain.engine.training.augment import Geometry, centre
from gputrain.engine.training.jpegfile import JpegHeader

MAX_PIXELS = 178_956_970
"""Pixels of an image that is taken for a decompression bomb: Pillow's own limit for an error."""

_KERNELS: Any = torch._C._nn
"""Where torch.nn.functional.interpolate finds its kernels; called so, they write into memory that is there already and
cost 8 µs less than through torch.ops."""

Pixels = npt.NDArray[np.uint8]
Choose = Callable[[int, int], Geometry]
"""What to show of an image of (width, height)."""

PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow's readers raise for files that are not what they claim to be."""


class BadImage(Exception):  # noqa: N818 - reads as what it is
    """A file that no image could be had from. `why` is a phrase for a person."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why

    def __str__(self) -> str:
        return f"{plain(self.path, 300)}: {self.why}"


def render(data: bytes, path: str, choose: Choose, out: torch.Tensor) -> None:
    """Write the part of an image that `choose` names to `out`: uint8 (3, size, size) in channels_last memory.

    Raises BadImage for what can't be decoded.
    """
    pixels, geometry, factor = _decoded_for(data, path, choose)
    resize(pixels, geometry, factor, out)


def reduced(data: bytes, path: str, short_side: int) -> Pixels:
    """The whole image upright, shape (height, width, 3), resized as validation's are if its short side is longer.

    Raises BadImage.
    """
    pixels, whole, factor = _decoded_for(data, path, lambda width, height: _whole(width, height, short_side))
    size = (whole.resized_height, whole.resized_width)
    if pixels.shape[:2] == size:
        return np.ascontiguousarray(pixels)
    small = torch.empty((*size, 3), dtype=torch.uint8)
    resize(pixels, whole, factor, small.permute(2, 0, 1))
    return small.numpy()


def _whole(width: int, height: int, short_side: int) -> Geometry:
    if min(width, height) > short_side:
        return centre(width, height, short_side, 0)
    return Geometry(0, 0, width, height, width, height, 0, 0)


def _decoded_for(data: bytes, path: str, choose: Choose) -> tuple[Pixels, Geometry, int]:
    """The upright pixels that `choose`'s part needs, that part, and by what the pixels were divided."""
    header = jpegfile.read_header(data)
    if header is not None:
        _check_size(header.width, header.height, path)
        turned = header.orientation >= 5
        geometry = choose(header.height, header.width) if turned else choose(header.width, header.height)
        pixels = _fast(data, header, geometry)
        if pixels is not None:
            return upright(pixels, header.orientation), geometry, shrink(geometry)
    pixels = _with_pillow(data, path)
    return pixels, choose(pixels.shape[1], pixels.shape[0]), 1


def decode(data: bytes, path: str) -> Pixels:
    """The whole image upright, RGB, shape (height, width, 3). Raises BadImage."""
    header = jpegfile.read_header(data)
    if header is not None:
        _check_size(header.width, header.height, path)
        pixels = _fast(data, header, None)
        if pixels is not None:
            return upright(pixels, header.orientation)
    return _with_pillow(data, path)


def shrink(geometry: Geometry) -> int:
    """The largest of 1, 2, 4 and 8 by which an image can be divided and still have the pixels that are asked for.

    Powers of two only: libjpeg-turbo has fast code for no others.
    """
    ratio = min(geometry.width / geometry.resized_width, geometry.height / geometry.resized_height)
    return 8 if ratio >= 8 else 4 if ratio >= 4 else 2 if ratio >= 2 else 1


def _fast(data: bytes, header: JpegHeader, geometry: Geometry | None) -> Pixels | None:
    """The stored pixels down to the crop's bottom, shrunk; None where simplejpeg refuses or the file was cut off."""
    if not jpegfile.is_whole(data, header):
        return None
    rows, factor = header.height, 1
    if geometry is not None:
        factor = shrink(geometry)
        if header.orientation == 1:
            rows = jpegfile.rows_for(header, geometry.top + geometry.height)
    at_least = (0, 0) if factor == 1 else (-(-rows // factor), -(-header.width // factor))
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(
            jpegfile.upper_part(data, header, rows),
            min_height=at_least[0],
            min_width=at_least[1],
            min_factor=factor,
            strict=False,
        )
    except ValueError:
        # Pillow is asked next, and has the last word.
        return None
    return pixels


def _with_pillow(data: bytes, path: str) -> Pixels:
    if not data:
        raise BadImage(path, "the file is empty")
    try:
        with Image.open(io.BytesIO(data)) as image:
            _check_size(*image.size, path)
            image.load()
            return upright(_as_rgb(image), image.getexif().get(0x0112, 1))
    except UnidentifiedImageError:
        raise BadImage(path, "not an image of a known format") from None
    except PILLOW_ERRORS as error:
        raise BadImage(path, f"cannot be decoded: {plain(str(error), 200)}") from error


def _as_rgb(image: Image.Image) -> Pixels:
    """8-bit RGB of any mode. Transparency is dropped, as by torchvision's loader; more than 8 bits are scaled down."""
    if image.mode.startswith("I;16"):
        return _repeated(np.asarray(image).astype(np.uint16) >> 8)
    if image.mode == "I":
        wide = np.asarray(image)
        return _repeated(wide >> 8 if wide.max(initial=0) > 255 else wide)
    if image.mode == "F":
        real = np.nan_to_num(np.asarray(image))
        # Floating-point files hold light from 0 to 1; some writers put 0…255 into them.
        return _repeated(real * 255 if real.max(initial=0) <= 1 else real)
    image.info.pop("transparency", None)
    # A copy: torch takes no memory that must not be written to.
    return np.array(image.convert("RGB"))


def _repeated(grey: npt.NDArray[Any]) -> Pixels:
    """Three equal channels of 8 bits."""
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """A view of stored `pixels` (height, width, 3) as Exif's `orientation` says they are to be seen."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def resize(pixels: Pixels, geometry: Geometry, factor: int, out: torch.Tensor) -> None:
    """Write `geometry` of an image to `out`; `pixels` are the image's, divided by `factor`, down to the box or more."""
    left, right = _scaled(geometry.left, geometry.width, factor, pixels.shape[1])
    top, bottom = _scaled(geometry.top, geometry.height, factor, pixels.shape[0])
    box = pixels[top:bottom, left:right]
    if min(box.strides) < 0:
        # A mirrored view: torch knows no negative strides.
        box = np.ascontiguousarray(box)
    place(torch.from_numpy(box).permute(2, 0, 1).unsqueeze(0), geometry, out)


def place(box: torch.Tensor, geometry: Geometry, out: torch.Tensor) -> None:
    """Write the pixels of `geometry`'s box (1, 3, h, w), resized and cut as it says, to `out` (3, size, size)."""
    height, width = geometry.resized_height, geometry.resized_width
    rows, columns = out.shape[1:]
    if height == rows and width == columns:
        _resize(box, height, width, out.unsqueeze(0))
        return
    whole = torch.empty((1, height, width, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    _resize(box, height, width, whole)
    top, left = geometry.kept_top, geometry.kept_left
    out.copy_(whole[0, :, top : top + rows, left : left + columns])


def _resize(source: torch.Tensor, height: int, width: int, out: torch.Tensor) -> None:
    """Resize (1, 3, h, w) into `out` (1, 3, height, width)."""
    rows, columns = source.shape[2:]
    if rows == height and columns == width:
        out.copy_(source)
    elif rows <= height and columns <= width:
        # Nothing to smooth: the same bytes as antialiased, with two weights a pixel instead of three.
        _KERNELS.upsample_bilinear2d(source, (height, width), False, None, None, out=out)
    else:
        _KERNELS._upsample_bilinear2d_aa(source, (height, width), False, None, None, out=out)


def _scaled(start: int, length: int, factor: int, limit: int) -> tuple[int, int]:
    """Start and end of a stretch in an image divided by `factor`; at least one pixel."""
    if factor == 1:
        return start, start + length
    first = min(round(start / factor), limit - 1)
    return first, max(first + 1, min(limit, round((start + length) / factor)))


def _check_size(width: int, height: int, path: str) -> None:
    if width * height > MAX_PIXELS:
        raise BadImage(path, f"{width} × {height} pixels, more than the limit of {MAX_PIXELS:,}")
