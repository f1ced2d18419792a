from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers.training.pictures import encoded, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gputrain.engine.dataloading.random_resized_crop import CropGeometry
from gputrain.engine.imaging import jpeg_tiles

KINDS: dict[str, Any] = {
    "4:2:0": picture(297, 250),
    "4:2:2": picture(200, 131, 1),
    "4:4:4": picture(97, 83, 2),
    "grey": picture(130, 77, 3).convert("L"),
    "new": picture(100, 90, 4),
    "tiny": picture(3, 5, 5),
}
OPTIONS: dict[str, dict[str, Any]] = {"4:2:2": {"subsampling": 1}, "4:4:4": {"subsampling": 0}}


def source(kind: str) -> Image.Image:
    image: Image.Image = KINDS[kind]
    if kind == "new":
        return image
    reopened = Image.open(io.BytesIO(encoded(image, **OPTIONS.get(kind, {}))))
    reopened.load()
    return reopened


BLOCKS = {kind: jpeg_tiles.encode(source(kind)) for kind in KINDS}


def pixels(data: bytes | bytearray) -> npt.NDArray[np.int64]:
    """Decoded by Pillow, not by the loader's decoder."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(np.int64)


def whole(kind: str) -> tuple[jpeg_tiles.Tiles, npt.NDArray[np.int64]]:
    """The tiles, and the entire image as encoded."""
    tiles = jpeg_tiles.parse(memoryview(BLOCKS[kind]))
    start = jpeg_tiles._PREFIX.size + tiles.offsets.nbytes
    return tiles, pixels(BLOCKS[kind][start:])


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"tiny"}))
def test_tiling_a_jpeg_changes_only_rounding(kind: str) -> None:
    image = source(kind)
    _, encoded_again = whole(kind)
    difference = np.abs(encoded_again[: image.height, : image.width] - np.asarray(image.convert("RGB")).astype(int))
    assert difference.mean() < (4 if kind == "new" else 1.0)


@given(data=st.data(), kind=st.sampled_from(sorted(KINDS)))
@settings(deadline=None, max_examples=150)
def test_any_crop_equals_the_crop_of_the_whole(data: st.DataObject, kind: str) -> None:
    image = KINDS[kind]
    left, top = data.draw(st.integers(0, image.width - 1)), data.draw(st.integers(0, image.height - 1))
    width = data.draw(st.integers(1, image.width - left))
    height = data.draw(st.integers(1, image.height - top))
    tiles, everything = whole(kind)
    part = jpeg_tiles.region(tiles, CropGeometry(left, top, width, height, 32, 32, 0, 0))
    start, end = jpeg_tiles.span(tiles, part)
    small = pixels(jpeg_tiles.cut(tiles, part, BLOCKS[kind][start:end]))
    x, y = left - part.left * tiles.width, top - part.top * tiles.height
    assert np.array_equal(small[y : y + height, x : x + width], everything[top : top + height, left : left + width])


def test_tiles_take_little_space() -> None:
    image = source("4:2:0")
    assert len(BLOCKS["4:2:0"]) < 1.15 * len(encoded(KINDS["4:2:0"]))
    assert len(jpeg_tiles.encode(image)) == len(BLOCKS["4:2:0"])
