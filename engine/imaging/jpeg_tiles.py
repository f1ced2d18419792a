"""JPEGs that any rectangle can be cut from without decoding the rest.

An image is encoded once more with a restart marker after every two blocks (MCUs): between two markers nothing depends
on what came before (ITU T.81, E.1.4). A crop is then some of these pieces, behind a header with the crop's own size,
the markers numbered anew: a complete small JPEG for any decoder. It costs 2 % of size and 30 µs a crop, and saves the
Huffman decoding, four fifths of all work, of what lies left, right, above and below.
"""

from __future__ import annotations

import io
import struct
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, JpegImagePlugin

from gputrain.engine.dataloading.random_resized_crop import CropGeometry
from gputrain.engine.imaging import jpeg_header

INTERVAL = 2
"""MCUs between two restart markers."""
NEW_QUALITY = 95
"""For what was no JPEG before; a JPEG keeps its own tables, so that its blocks change by rounding alone."""
_MARGIN = 2
"""Pixels around a crop that the smooth chroma upsampling looks at."""
_PREFIX = struct.Struct("<IIHHHH")
_MCU = {0: (8, 8), 1: (16, 8), 2: (16, 16)}
"""Width and height of an MCU by Pillow's number of the chroma subsampling: 4:4:4, 4:2:2, 4:2:0."""


class Tiles(NamedTuple):
    """What is known of a cached JPEG without its pieces."""

    header: bytes
    """From start-of-image to the end of the start-of-scan segment."""
    size_at: int
    """Offset in `header` of the height, then the width."""
    rows: int
    pieces: int
    """Pieces in a row."""
    width: int
    """Width of a piece in pixels."""
    height: int
    offsets: npt.NDArray[np.uint32]
    """(rows · pieces + 1,): where each piece begins in the block, and where the last one ends; markers belong to it."""


class Region(NamedTuple):
    """A rectangle of whole pieces: rows [top, bottom), pieces [left, right) of each."""

    top: int
    bottom: int
    left: int
    right: int


def encode(image: Image.Image) -> bytes:
    """`image` (upright; RGB or grey) as one block of bytes: prefix, offsets, header, pieces."""
    options, (mcu_width, mcu_height) = _options(image)
    width, height = INTERVAL * mcu_width, mcu_height
    file = io.BytesIO()
    _padded(image, width, height).save(file, "JPEG", restart_marker_blocks=INTERVAL, **options)
    data = file.getvalue()
    frame = jpeg_header.read_header(data)
    assert frame is not None
    header_end = frame.scan_at + 2 + (data[frame.scan_at + 2] << 8 | data[frame.scan_at + 3])
    stream = np.frombuffer(data, dtype=np.uint8)[header_end:]
    # In the stream 0xFF is followed by zero unless it is a marker.
    marks = np.flatnonzero((stream[:-1] == 0xFF) & (stream[1:] >= 0xD0) & (stream[1:] <= 0xD7))
    rows, pieces = -(-frame.height // height), frame.width // width
    assert len(marks) == rows * pieces - 1
    table = 4 * (rows * pieces + 1)
    offsets = np.concatenate([[0], marks + 2, [len(stream)]]).astype(np.uint32) + (_PREFIX.size + table + header_end)
    prefix = _PREFIX.pack(header_end, frame.height_at, rows, pieces, width, height)
    return b"".join((prefix, offsets.astype(np.uint32).tobytes(), data))


def _options(image: Image.Image) -> tuple[dict[str, Any], tuple[int, int]]:
    """The encoder's options that keep a JPEG's own quality, and the size of an MCU that they lead to."""
    tables = getattr(image, "quantization", None)
    if tables and image.mode == "L":
        return {"qtables": tables}, _MCU[0]
    if tables and image.mode == "RGB":
        sampling = JpegImagePlugin.get_sampling(image)
        if sampling in _MCU:
            return {"qtables": tables, "subsampling": sampling}, _MCU[sampling]
    return {"quality": NEW_QUALITY, "subsampling": 0}, _MCU[0]


def _padded(image: Image.Image, width: int, height: int) -> Image.Image:
    """The image with its right and lower edges repeated to multiples of `width` and `height`."""
    right, below = -image.width % width, -image.height % height
    if not right and not below:
        # A new image: Pillow would otherwise write a JPEG's metadata again.
        return Image.fromarray(np.asarray(image))
    pixels = np.asarray(image)
    return Image.fromarray(np.pad(pixels, ((0, below), (0, right), (0, 0))[: pixels.ndim], mode="edge"))


def parse(block: memoryview) -> Tiles:
    """The tiles in a block that `encode` made."""
    header_size, size_at, rows, pieces, width, height = _PREFIX.unpack_from(block)
    count = rows * pieces + 1
    offsets = np.frombuffer(block, dtype=np.uint32, count=count, offset=_PREFIX.size)
    start = _PREFIX.size + 4 * count
    return Tiles(bytes(block[start : start + header_size]), size_at, rows, pieces, width, height, offsets)


def region(tiles: Tiles, geometry: CropGeometry) -> Region:
    """The pieces that `geometry` needs."""
    return Region(
        top=max(0, geometry.top - _MARGIN) // tiles.height,
        bottom=min(tiles.rows, -(-(geometry.top + geometry.height + _MARGIN) // tiles.height)),
        left=max(0, geometry.left - _MARGIN) // tiles.width,
        right=min(tiles.pieces, -(-(geometry.left + geometry.width + _MARGIN) // tiles.width)),
    )


def span(tiles: Tiles, part: Region) -> tuple[int, int]:
    """Start and end in the block of all rows of `part`."""
    return int(tiles.offsets[part.top * tiles.pieces]), int(tiles.offsets[part.bottom * tiles.pieces])


def cut(tiles: Tiles, part: Region, rows: bytes) -> bytearray:
    """A JPEG of the pieces in `part`; `rows` are the bytes of `span`."""
    first = np.arange(part.top, part.bottom)[:, None] * tiles.pieces
    count = part.right - part.left
    # (rows, count + 1): the borders of the pieces, from the start of `rows`.
    borders = tiles.offsets[first + np.arange(part.left, part.right + 1)].astype(np.int64)
    borders -= int(tiles.offsets[part.top * tiles.pieces])
    view = memoryview(rows)
    out = bytearray(tiles.header)
    struct.pack_into(
        ">HH", out, tiles.size_at, (part.bottom - part.top) * tiles.height, (part.right - part.left) * tiles.width
    )
    lengths = borders[:, -1] - borders[:, 0]
    placed = len(out) + np.cumsum(lengths) - lengths
    for start, end in borders[:, [0, -1]].tolist():
        out += view[start:end]
    # Each piece ends with its marker; they count to eight over the whole image, and the last one ends it.
    marks = (borders[:, 1:] - borders[:, :1] + placed[:, None] - 1).ravel()
    pixels = np.frombuffer(out, dtype=np.uint8)
    pixels[marks] = 0xD0 + np.arange(len(first) * count) % 8
    pixels[marks[-1]] = 0xD9
    return out
