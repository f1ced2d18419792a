"""What a cache keeps of an image, and how a sample is cut from it.

``raw``: decoded pixels, at the short side that validation needs; a crop is then resized from this size and not from the
file's, which changes its pixels (as FFCV's raw form does) but not what training can learn from it.
``jpeg``: the image at its full size, encoded again so that crops can be cut from it.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import simplejpeg
import torch
from PIL import Image

from gputrain.engine.dataloading import random_resized_crop
from gputrain.engine.dataloading.worker_accounting import BatchAccounting
from gputrain.engine.imaging import jpeg_header, jpeg_tiles, scaled_decode
from gputrain.engine.training.cache.cache_store import CacheEntry, CacheStore
from gputrain.engine.training.transforms import decode
from gputrain.engine.training.transforms.decode import Choose


@dataclass(frozen=True, slots=True)
class CachedImage:
    """An image as a cache keeps it."""

    content: bytes | memoryview
    width: int
    height: int


class CacheForm(Protocol):
    """A way to keep images."""

    @property
    def key(self) -> str:
        """What of the settings the kept bytes depend on."""
        ...

    def encode(self, data: bytes, path: str) -> CachedImage:
        """The kept form of a file. Raises BadImage."""
        ...

    def render(self, cached: CachedImage, choose: Choose, out: torch.Tensor) -> None:
        """Write what `choose` names of a kept image to `out` (3, size, size)."""
        ...

    def render_stored(
        self, store: CacheStore, entry: CacheEntry, choose: Choose, out: torch.Tensor, meter: BatchAccounting
    ) -> None:
        """The same for an image in the store."""
        ...


@dataclass(frozen=True, slots=True)
class RawForm:
    """uint8 (height, width, 3), the short side at most `short_side`."""

    short_side: int

    @property
    def key(self) -> str:
        """See `CacheForm`."""
        return f"raw {self.short_side}"

    def encode(self, data: bytes, path: str) -> CachedImage:
        """See `CacheForm`. Resized as validation's images are, antialiased; smaller ones are kept as they are."""
        pixels = decode.decode_reduced(data, path, self.short_side)
        return CachedImage(pixels.data.cast("B"), pixels.shape[1], pixels.shape[0])

    def render(self, cached: CachedImage, choose: Choose, out: torch.Tensor) -> None:
        """See `CacheForm`."""
        pixels = np.frombuffer(cached.content, dtype=np.uint8).reshape(cached.height, cached.width, 3)
        decode.resize(pixels, choose(cached.width, cached.height), 1, out)

    def render_stored(
        self, store: CacheStore, entry: CacheEntry, choose: Choose, out: torch.Tensor, meter: BatchAccounting
    ) -> None:
        """See `CacheForm`. Straight from the map: only the crop's rows are touched, one copy in memory serves all."""
        meter.mapped(entry.length)
        geometry = choose(entry.width, entry.height)
        start = entry.offset + 3 * (geometry.top * entry.width + geometry.left)
        shape, strides = (1, 3, geometry.height, geometry.width), (1, 1, 3 * entry.width, 3)
        decode.copy_into(torch.as_strided(store.pixels, shape, strides, start), geometry, out)


@dataclass(frozen=True, slots=True)
class JpegForm:
    """The whole image in tiles; see `cache_tiles`."""

    @property
    def key(self) -> str:
        """See `CacheForm`."""
        return f"jpeg tiles of {jpeg_tiles.INTERVAL}"

    def encode(self, data: bytes, path: str) -> CachedImage:
        """See `CacheForm`."""
        image = _open_upright_jpeg(data)
        if image is None:
            image = Image.fromarray(decode.decode(data, path))
        return CachedImage(jpeg_tiles.encode(image), *image.size)

    def render(self, cached: CachedImage, choose: Choose, out: torch.Tensor) -> None:
        """See `CacheForm`."""
        tiles = jpeg_tiles.parse(memoryview(cached.content))
        geometry, factor = scaled_decode.aligned(choose(cached.width, cached.height))
        part = jpeg_tiles.region(tiles, geometry)
        start, end = jpeg_tiles.span(tiles, part)
        _render_tiles(tiles, part, bytes(cached.content[start:end]), geometry, factor, out)

    def render_stored(
        self, store: CacheStore, entry: CacheEntry, choose: Choose, out: torch.Tensor, meter: BatchAccounting
    ) -> None:
        """See `CacheForm`. Only the rows of the crop are read."""
        tiles = jpeg_tiles.parse(memoryview(store.map)[entry.offset : entry.offset + entry.length])
        geometry, factor = scaled_decode.aligned(choose(entry.width, entry.height))
        part = jpeg_tiles.region(tiles, geometry)
        start, end = jpeg_tiles.span(tiles, part)
        began = time.perf_counter()
        rows = store.read(entry.offset + start, end - start)
        meter.read(time.perf_counter() - began, len(rows))
        _render_tiles(tiles, part, rows, geometry, factor, out)


def _open_upright_jpeg(data: bytes) -> Image.Image | None:
    """A JPEG in RGB or grey that needs no turning, with its tables; None for all else."""
    header = jpeg_header.read_header(data)
    if header is None or header.orientation != 1 or not jpeg_header.is_whole(data, header):
        return None
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except decode.PILLOW_ERRORS:
        # `decode` is asked next, and says what is wrong.
        return None
    return image if image.mode in ("RGB", "L") else None


def _render_tiles(
    tiles: jpeg_tiles.Tiles,
    part: jpeg_tiles.Region,
    rows: bytes,
    geometry: random_resized_crop.CropGeometry,
    factor: int,
    out: torch.Tensor,
) -> None:
    height, width = (part.bottom - part.top) * tiles.height, (part.right - part.left) * tiles.width
    pixels = simplejpeg.decode_jpeg(
        jpeg_tiles.cut(tiles, part, rows),
        min_height=height // factor if factor > 1 else 0,
        min_width=width // factor if factor > 1 else 0,
        min_factor=factor,
    )
    shifted = geometry._replace(
        left=geometry.left - part.left * tiles.width, top=geometry.top - part.top * tiles.height
    )
    decode.resize(pixels, shifted, factor, out)
