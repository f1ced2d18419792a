"""A JPEG that breaks off before another one (MPO) is a bad image, in files and caches; whole ones are not."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.training.pictures import encoded, picture
from PIL import Image, ImageOps

from gputrain.engine.configuration import settings
from gputrain.engine.datasets.image_set import scan
from gputrain.engine.imaging import jpeg_header, pillow_decode
from gputrain.engine.training.cache.cache_forms import JpegForm, RawForm
from gputrain.engine.training.loader.make_loader import make_loader
from gputrain.engine.training.transforms import decode
from gputrain.engine.training.transforms.decode import BadImage

FIRST, SECOND = picture(160, 120, 1), picture(160, 120, 2)
KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "grey": {},
    "CMYK": {},
    "restarts": {"restart_marker_blocks": 4},
}


def first(kind: str) -> bytes:
    mode = {"grey": "L", "CMYK": "CMYK"}.get(kind, "RGB")
    return encoded(FIRST.convert(mode), "JPEG", **KINDS[kind])


def mpo() -> bytes:
    """As cameras and phones write it, with the second picture behind the first."""
    return encoded(FIRST, "MPO", save_all=True, append_images=[SECOND])


def broken(data: bytes, at: float) -> bytes:
    """The part of a JPEG before `at`, as a share of its compressed data."""
    scan_at = data.index(b"\xff\xda") + 20
    return data[: scan_at + int((len(data) - scan_at) * at)].rstrip(b"\xff")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [0.05, 0.5, 0.95])
def test_a_jpeg_that_another_one_interrupts_is_a_bad_image(kind: str, at: float) -> None:
    data = broken(first(kind), at) + encoded(SECOND)
    for attempt in (
        lambda: decode.decode(data, "a.jpg"),
        lambda: RawForm(64).encode(data, "a.jpg"),
        lambda: JpegForm().encode(data, "a.jpg"),
    ):
        with pytest.raises(BadImage, match=r"a\.jpg: damaged: another JPEG begins before its end"):
            attempt()


def with_early_end(kind: str, at: float) -> bytes:
    """A JPEG whose compressed data stop at a share of them, with an end marker."""
    return broken(first(kind), at) + b"\xff\xd9"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [0.0, 0.05, 0.5, 0.9, 0.98])
def test_a_jpeg_with_an_early_end_before_another_one_is_a_bad_image(kind: str, at: float) -> None:
    data = with_early_end(kind, at) + encoded(SECOND)
    with Image.open(io.BytesIO(data)) as pillow:
        pillow.load()  # which does not complain
    for attempt in (
        lambda: decode.decode(data, "a.jpg"),
        lambda: decode.decode_reduced(data, "a.jpg", 30),
        lambda: RawForm(64).encode(data, "a.jpg"),
        lambda: JpegForm().encode(data, "a.jpg"),
    ):
        with pytest.raises(BadImage, match=r"a\.jpg: damaged: its compressed data end too early"):
            attempt()


@pytest.mark.parametrize("kind", ["baseline", "grey", "CMYK", "restarts"])
def test_a_jpeg_whose_lower_part_is_missing_is_a_bad_image(kind: str) -> None:
    """Its last row is then grey; with fewer blocks missing it is used, as everywhere else."""
    data = with_early_end(kind, 0.5)
    for attempt in (
        lambda: decode.decode(data, "a.jpg"),
        lambda: decode.decode_reduced(data, "a.jpg", 30),
        lambda: RawForm(64).encode(data, "a.jpg"),
        lambda: JpegForm().encode(data, "a.jpg"),
    ):
        with pytest.raises(BadImage, match=r"a\.jpg: damaged: its compressed data end too early"):
            attempt()
    data = first(kind)[:-4] + b"\xff\xd9"
    with Image.open(io.BytesIO(data)) as pillow:
        expected = np.asarray(pillow.convert("RGB")).astype(int)
    assert np.abs(decode.decode(data, "a") - expected).max() <= 2


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_grey_lower_edge_is_no_damage(mode: str) -> None:
    image = Image.new(mode, (160, 120), 128 if mode == "L" else (128, 128, 128))
    image.paste(FIRST.resize((100, 60)).convert(mode), (10, 10))
    data = encoded(image)
    assert (decode.decode(data, "a")[-1] == 128).all()
    assert JpegForm().encode(data, "a").height == 120


@pytest.mark.parametrize("behind", [b"", encoded(SECOND)], ids=["alone", "before another"])
def test_extraneous_bytes_are_no_damage(behind: bytes) -> None:
    """libjpeg warns of them too; many real files have some before the end marker."""
    whole = first("baseline")
    data = whole[:-2] + bytes(7) + b"\xff\xd9" + behind
    assert np.array_equal(decode.decode(data, "a"), decode.decode(whole, "a"))
    assert JpegForm().encode(data, "a").height == 120


def test_an_mpo_whose_first_picture_is_cut_in_the_middle_is_a_bad_image() -> None:
    data = mpo()
    end = data.index(b"\xff\xd9\xff\xd8")
    start = data.index(b"\xff\xda") + 200
    damaged = data[:start] + data[end + 2 :]
    with pytest.raises(BadImage, match="damaged"):
        decode.decode(damaged, "a.mpo")


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_jpeg_with_another_one_behind_is_read(kind: str) -> None:
    data = first(kind)
    assert np.array_equal(decode.decode(data + encoded(SECOND), "a"), decode.decode(data, "a"))
    assert jpeg_header.borders(data + encoded(SECOND)) == (False, len(data))


def test_a_whole_mpo_gives_its_first_picture() -> None:
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(mpo()))))
    assert np.abs(decode.decode(mpo(), "a").astype(int) - expected.astype(int)).max() <= 2


def test_the_pictures_of_an_mpo_are_left_to_one_decoder() -> None:
    """TensorFlow's would read a damaged first picture; it gets plain files only."""
    assert pillow_decode.is_plain(first("baseline"))
    assert not pillow_decode.is_plain(mpo())


def test_an_embedded_thumbnail_is_no_interruption() -> None:
    """It stands in the Exif data, before the compressed data."""
    exif = Image.Exif()
    exif[0x0110] = "camera"
    block = exif.tobytes() + encoded(SECOND.resize((40, 30)))
    data = encoded(FIRST, "JPEG", exif=block)
    assert data.count(b"\xff\xd8") == 2
    assert decode.decode(data, "a").shape == (120, 160, 3)
    with pytest.raises(BadImage, match="truncated"):
        decode.decode(broken(data, 0.5), "a")


def test_the_loader_names_and_replaces_it(tmp_path: Path) -> None:
    (tmp_path / "train" / "a").mkdir(parents=True)
    for number in range(5):
        (tmp_path / "train" / "a" / f"{number}.jpg").write_bytes(mpo())
    (tmp_path / "train" / "a" / "3.jpg").write_bytes(broken(encoded(FIRST), 0.4) + encoded(SECOND))
    bad: list[tuple[str, str]] = []
    values: dict[str, Any] = {"image_size": 32, "val_resize": 32, "batch_size": 5, "num_workers": 0}
    loader = make_loader(
        scan(str(tmp_path), "train"), settings.build(values), train=False, pin=False, on_bad=bad.extend
    )
    assert sum(len(batch.labels) for batch in loader.epoch(0)) == 5
    loader.close()
    ((path, why),) = bad
    assert re.search(r"a/3\.jpg$", path)
    assert why == "damaged: another JPEG begins before its end"


@pytest.mark.parametrize("kind", ["baseline", "grey", "CMYK"])
def test_zeros_in_place_of_the_lower_part_are_a_bad_image(kind: str) -> None:
    """As an interrupted download leaves them in a file of the full size."""
    whole = first(kind)
    data = broken(whole, 0.5).ljust(4 * len(whole), b"\0")
    with Image.open(io.BytesIO(data)) as pillow:
        pillow.load()  # which does not complain
    for attempt in (
        lambda: decode.decode(data, "a.jpg"),
        lambda: decode.decode_reduced(data, "a.jpg", 30),
        lambda: JpegForm().encode(data, "a.jpg"),
    ):
        with pytest.raises(BadImage, match=r"a\.jpg: damaged: zeros in place of its last compressed data"):
            attempt()


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_behind_a_whole_jpeg_are_harmless(kind: str) -> None:
    whole = first(kind)
    # Without an end marker, Pillow waits for more scans of progressive files.
    for data in (whole + bytes(5000), *([whole[:-2] + bytes(5000)] if kind != "progressive" else [])):
        assert (decode.decode(data, "a.jpg") == decode.decode(whole, "a.jpg")).all()
