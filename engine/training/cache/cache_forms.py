"""Cache formats: how an image is stored, and how a crop is read from it.

``raw``: decoded pixels, at the short side that validation needs. A crop is resized from this size and not from the
file's, which changes its pixels slightly (as in FFCV's raw format).
``jpeg``: the image at full size as a tiled JPEG, from which crops are decoded.
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

from gputrain.engine.configuration.sections.data_settings import Interpolation
from gputrain.engine.dataloading import random_resized_crop
from gputrain.engine.dataloading.worker_accounting import BatchAccounting
from gputrain.engine.imaging import jpeg_damage, jpeg_header, jpeg_tiles, scaled_decode
from gputrain.engine.imaging.decoding import DEFAULT_DECODING, Decoding
from gputrain.engine.imaging.pillow_errors import PILLOW_ERRORS
from gputrain.engine.training.cache.cache_store import CacheEntry, CacheStore
from gputrain.engine.training.transforms import decode
from gputrain.engine.training.transforms.decode import Choose


@dataclass(frozen=True, slots=True)
class CachedImage:
    """An image as a cache stores it."""

    content: bytes | memoryview
    width: int
    height: int


class CacheForm(Protocol):
    """A cache format."""

    @property
    def key(self) -> str:
        """Parameters that change the stored bytes, for the cache's key."""
        ...

    def encode(self, data: bytes, path: str) -> CachedImage:
        """The stored form of a file's bytes. Raises BadImage."""
        ...

    def render(self, cached: CachedImage, choose: Choose, out: torch.Tensor) -> None:
        """Write the crop of a cached image that `choose` returns to `out` (3, size, size)."""
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
    decoding: Decoding = DEFAULT_DECODING

    @property
    def key(self) -> str:
        """See `CacheForm`."""
        how = "" if self.decoding.interpolation == "bilinear" else f" {self.decoding.interpolation}"
        return f"raw {self.short_side} {self.decoding.key}{how}"

    def encode(self, data: bytes, path: str) -> CachedImage:
        """See `CacheForm`. Larger images are resized, antialiased; smaller ones keep their size."""
        pixels = decode.decode_reduced(data, path, self.short_side, self.decoding)
        return CachedImage(pixels.data.cast("B"), pixels.shape[1], pixels.shape[0])

    def render(self, cached: CachedImage, choose: Choose, out: torch.Tensor) -> None:
        """See `CacheForm`."""
        pixels = np.frombuffer(cached.content, dtype=np.uint8).reshape(cached.height, cached.width, 3)
        decode.resize(pixels, choose(cached.width, cached.height), 1, out, self.decoding.interpolation)

    def render_stored(
        self, store: CacheStore, entry: CacheEntry, choose: Choose, out: torch.Tensor, meter: BatchAccounting
    ) -> None:
        """See `CacheForm`. Reads from the memory map: only the crop's rows, and all processes share one copy."""
        meter.mapped(entry.length)
        geometry = choose(entry.width, entry.height)
        start = entry.offset + 3 * (geometry.top * entry.width + geometry.left)
        shape, strides = (1, 3, geometry.height, geometry.width), (1, 1, 3 * entry.width, 3)
        box = torch.as_strided(store.pixels, shape, strides, start)
        decode.copy_into(box, geometry, out, interpolation=self.decoding.interpolation)


@dataclass(frozen=True, slots=True)
class JpegForm:
    """The whole image as a tiled JPEG; see `jpeg_tiles`."""

    decoding: Decoding = DEFAULT_DECODING

    @property
    def key(self) -> str:
        """See `CacheForm`."""
        return f"jpeg tiles of {jpeg_tiles.INTERVAL} {self.decoding.key}"

    def encode(self, data: bytes, path: str) -> CachedImage:
        """See `CacheForm`."""
        image = _open_upright_jpeg(data, as_stored=self.decoding.as_stored)
        if image is None:
            image = Image.fromarray(decode.decode(data, path, self.decoding))
        return CachedImage(jpeg_tiles.encode(image), *image.size)

    def render(self, cached: CachedImage, choose: Choose, out: torch.Tensor) -> None:
        """See `CacheForm`."""
        tiles = jpeg_tiles.parse(memoryview(cached.content))
        geometry, factor = scaled_decode.aligned(choose(cached.width, cached.height), self.decoding.interpolation)
        part = jpeg_tiles.region(tiles, geometry)
        start, end = jpeg_tiles.span(tiles, part)
        _render_tiles(tiles, part, bytes(cached.content[start:end]), geometry, factor, out, self.decoding.interpolation)

    def render_stored(
        self, store: CacheStore, entry: CacheEntry, choose: Choose, out: torch.Tensor, meter: BatchAccounting
    ) -> None:
        """See `CacheForm`. Only the rows of the crop are read."""
        tiles = jpeg_tiles.parse(memoryview(store.map)[entry.offset : entry.offset + entry.length])
        geometry, factor = scaled_decode.aligned(choose(entry.width, entry.height), self.decoding.interpolation)
        part = jpeg_tiles.region(tiles, geometry)
        start, end = jpeg_tiles.span(tiles, part)
        began = time.perf_counter()
        rows = store.read(entry.offset + start, end - start)
        meter.read(time.perf_counter() - began, len(rows))
        _render_tiles(tiles, part, rows, geometry, factor, out, self.decoding.interpolation)


def _open_upright_jpeg(data: bytes, *, as_stored: bool) -> Image.Image | None:
    """An upright JPEG in RGB or grey, with its quantization tables; None for all other files."""
    header = jpeg_header.read_header(data)
    if header is None or (header.orientation != 1 and not as_stored):
        return None
    end = jpeg_header.end_of_image(data, header)
    if not end:
        return None
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
        last_row = np.atleast_3d(np.asarray(image.crop((0, image.height - 1, *image.size))))
        suspicious = jpeg_damage.has_jpeg_behind(data, end) or jpeg_damage.ends_in_fill(last_row)
        if suspicious and jpeg_damage.ends_early(data):
            return None
    except PILLOW_ERRORS:
        # `decode` is called next, and raises BadImage.
        return None
    return image if image.mode in ("RGB", "L") else None


def _render_tiles(
    tiles: jpeg_tiles.Tiles,
    part: jpeg_tiles.Region,
    rows: bytes,
    geometry: random_resized_crop.CropGeometry,
    factor: int,
    out: torch.Tensor,
    interpolation: Interpolation,
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
    decode.resize(pixels, shifted, factor, out, interpolation)
