"""Decodes image files, crops and resizes: from a file's bytes straight into the sample's place in the batch.

JPEGs go through simplejpeg (libjpeg-turbo): only the rows down to the crop's bottom are decoded, and large images at
1/2, 1/4 or 1/8 as long as the crop has at least as many pixels as the sample (for bicubic: twice as many each way). All
other files, and those that simplejpeg refuses, go through Pillow, which decides what is a bad image.

Crops are resized by torch's antialiased uint8 kernels. Compared with Pillow's decode and resize (torchvision's way),
pixels differ by 0.05 on average and by 2 at most. Scaled decoding smooths with other weights: pixels then differ by 1
on average, by at most 3 on the average of one photograph, and by up to 40 at a hard edge, for all orientations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import simplejpeg
import torch

from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.sections.data_settings import Interpolation
from gputrain.engine.dataloading.random_resized_crop import CropGeometry, center_crop_box
from gputrain.engine.imaging import jpeg_damage, jpeg_header, pillow_decode, scaled_decode
from gputrain.engine.imaging.decoding import DEFAULT_DECODING, Decoding
from gputrain.engine.imaging.jpeg_header import JpegHeader
from gputrain.engine.imaging.orientation import upright
from gputrain.engine.imaging.pillow_decode import CannotDecodeError, Pixels

_KERNELS: Any = torch._C._nn
"""The kernels of torch.nn.functional.interpolate; called directly, they write into existing memory and cost 8 µs less
than through torch.ops."""
_ANTIALIASED: dict[Interpolation, Any] = {
    "bilinear": _KERNELS._upsample_bilinear2d_aa,
    # Also for upscaling: the kernel without antialiasing has other weights than Pillow.
    "bicubic": _KERNELS._upsample_bicubic2d_aa,
}

Choose = Callable[[int, int], CropGeometry]
"""Returns the crop for an image of (width, height)."""


class BadImage(Exception):  # noqa: N818 - reads as what it is
    """The file cannot be decoded. `why` is a phrase for the user."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why

    def __str__(self) -> str:
        return f"{plain(self.path, 300)}: {self.why}"


class _StoredPixels(NamedTuple):
    """Decoded pixels as they are stored, before the orientation is applied."""

    pixels: Pixels
    turn: int
    """The orientation to apply."""
    part: CropGeometry
    """The crop, in coordinates of the whole stored image."""
    factor: int
    """By what the image's sides are divided in `pixels`."""


def decode_into(
    data: bytes, path: str, choose: Choose, out: torch.Tensor, decoding: Decoding = DEFAULT_DECODING
) -> None:
    """Write the crop that `choose` returns to `out`: uint8 (3, size, size) in channels_last memory. Raises BadImage."""
    _write_upright(_decode_stored(data, path, choose, out.shape[1], decoding), out, decoding.interpolation)


def decode_reduced(data: bytes, path: str, short_side: int, decoding: Decoding = DEFAULT_DECODING) -> Pixels:
    """The whole image upright, shape (height, width, 3), its short side resized to `short_side` if it is longer.

    Raises BadImage.
    """
    stored = _decode_stored(
        data, path, lambda width, height: _reduced_geometry(width, height, short_side), None, decoding
    )
    rows, columns = stored.part.resized_height, stored.part.resized_width
    if stored.turn >= 5:
        rows, columns = columns, rows
    small = torch.empty((rows, columns, 3), dtype=torch.uint8)
    _write_upright(stored, small.permute(2, 0, 1), decoding.interpolation)
    return small.numpy()


def _reduced_geometry(width: int, height: int, short_side: int) -> CropGeometry:
    if min(width, height) > short_side:
        return center_crop_box(width, height, short_side, 0)
    return CropGeometry(0, 0, width, height, width, height, 0, 0)


def _decode_stored(data: bytes, path: str, choose: Choose, size: int | None, decoding: Decoding) -> _StoredPixels:
    """Decode the crop that `choose` returns, of which a square of `size` is kept; None: all of it."""

    def part(orientation: int, width: int, height: int) -> CropGeometry:
        if orientation >= 5:
            width, height = height, width
        return scaled_decode.as_stored(choose(width, height), orientation, width, height, size)

    header = jpeg_header.read_header(data)
    if header is not None:
        _check_size(header.width, header.height, path)
        turn = 1 if decoding.as_stored else header.orientation
        geometry, factor = scaled_decode.aligned(part(turn, header.width, header.height), decoding.interpolation)
        pixels = _decode_simplejpeg(data, header, geometry, factor)
        if pixels is not None:
            return _StoredPixels(pixels, turn, geometry, factor)
    pixels, turn = _decode_pillow(data, path, decoding)
    return _StoredPixels(pixels, turn, part(turn, pixels.shape[1], pixels.shape[0]), 1)


def decode(data: bytes, path: str, decoding: Decoding = DEFAULT_DECODING) -> Pixels:
    """The whole image, RGB, shape (height, width, 3), upright unless `decoding` says otherwise. Raises BadImage."""
    header = jpeg_header.read_header(data)
    if header is not None:
        _check_size(header.width, header.height, path)
        pixels = _decode_simplejpeg(data, header, None, 1)
        if pixels is not None:
            return upright(pixels, 1 if decoding.as_stored else header.orientation)
    return upright(*_decode_pillow(data, path, decoding))


def _decode_simplejpeg(data: bytes, header: JpegHeader, part: CropGeometry | None, factor: int) -> Pixels | None:
    """The stored pixels down to the end of `part`, at 1/`factor`; None for damaged or refused files."""
    end = jpeg_header.end_of_image(data, header)
    if not end:
        return None
    # An image before another one may lack its own end: all of it is decoded, and warnings are errors.
    behind = jpeg_damage.has_jpeg_behind(data, end)
    rows = header.height if part is None or behind else jpeg_header.rows_for(header, part.top + part.height)
    at_least = (0, 0) if factor == 1 else (-(-rows // factor), -(-header.width // factor))

    def decoded(*, strict: bool) -> Pixels:
        pixels: Pixels = simplejpeg.decode_jpeg(
            jpeg_header.upper_part(data, header, rows),
            min_height=at_least[0],
            min_width=at_least[1],
            min_factor=factor,
            strict=strict,
        )
        return pixels

    # Where this gives None, Pillow is tried next, and decides.
    try:
        pixels = decoded(strict=behind)
    except ValueError as error:
        if not behind or jpeg_damage.means_missing_data(error):
            return None
        try:
            pixels = decoded(strict=False)
        except ValueError:
            return None
    return None if jpeg_damage.ends_in_fill(pixels) and jpeg_damage.ends_early(data) else pixels


def _decode_pillow(data: bytes, path: str, decoding: Decoding) -> tuple[Pixels, int]:
    """The stored pixels, and the orientation to apply."""
    try:
        return pillow_decode.decode_stored(data, decoding)
    except CannotDecodeError as error:
        raise BadImage(path, str(error)) from error


def _write_upright(stored: _StoredPixels, out: torch.Tensor, interpolation: Interpolation) -> None:
    """Resize, crop and orient the decoded pixels into `out` (3, rows, columns)."""
    if stored.turn == 1:
        resize(stored.pixels, stored.part, stored.factor, out, interpolation)
        return
    rows, columns = out.shape[1:]
    size = (columns, rows) if stored.turn >= 5 else (rows, columns)
    small = torch.empty((*size, 3), dtype=torch.uint8)
    resize(stored.pixels, stored.part, stored.factor, small.permute(2, 0, 1), interpolation)
    out.permute(1, 2, 0).numpy()[:] = upright(small.numpy(), stored.turn)


def resize(
    pixels: Pixels, geometry: CropGeometry, factor: int, out: torch.Tensor, interpolation: Interpolation = "bilinear"
) -> None:
    """Write `geometry` of an image to `out`; `pixels` are the image's at 1/`factor`, at least down to the box's end.

    With a factor above 1, `geometry` comes from `scaled_decode.aligned`.
    """
    left, right = scaled_decode.decoded_range(geometry.left, geometry.width, factor, pixels.shape[1])
    top, bottom = scaled_decode.decoded_range(geometry.top, geometry.height, factor, pixels.shape[0])
    box = torch.from_numpy(pixels[top:bottom, left:right]).permute(2, 0, 1).unsqueeze(0)
    copy_into(box, geometry, out, factor, interpolation)


def copy_into(
    box: torch.Tensor,
    geometry: CropGeometry,
    out: torch.Tensor,
    factor: int = 1,
    interpolation: Interpolation = "bilinear",
) -> None:
    """Write the pixels of `geometry`'s box (1, 3, h, w), resized and cropped, to `out` (3, rows, columns)."""
    height, width = geometry.resized_height, geometry.resized_width
    rows, columns = out.shape[1:]
    if height == rows and width == columns:
        _resize(box, geometry, factor, out.unsqueeze(0), interpolation)
        return
    whole = torch.empty((1, height, width, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    _resize(box, geometry, factor, whole, interpolation)
    top, left = geometry.kept_top, geometry.kept_left
    out.copy_(whole[0, :, top : top + rows, left : left + columns])


def _resize(
    source: torch.Tensor, geometry: CropGeometry, factor: int, out: torch.Tensor, interpolation: Interpolation
) -> None:
    """Resize (1, 3, h, w) into `out` (1, 3, height, width)."""
    size = height, width = geometry.resized_height, geometry.resized_width
    antialiased = _ANTIALIASED[interpolation]
    if factor > 1:
        # The scales are the box's, which may end inside the last decoded pixel.
        down, across = factor * height / geometry.height, factor * width / geometry.width
        antialiased(source, size, False, down, across, out=out)
        return
    rows, columns = source.shape[2:]
    if rows == height and columns == width:
        out.copy_(source)
    elif rows <= height and columns <= width and interpolation == "bilinear":
        # Upscaling needs no smoothing: the same bytes as antialiased, with two weights per pixel instead of three.
        _KERNELS.upsample_bilinear2d(source, size, False, None, None, out=out)
    else:
        antialiased(source, size, False, None, None, out=out)


def _check_size(width: int, height: int, path: str) -> None:
    try:
        pillow_decode.check_size(width, height)
    except CannotDecodeError as error:
        raise BadImage(path, str(error)) from None
