"""Orientation: files, caches and readers turn pictures as Pillow's exif_transpose; annotated ones stay as stored."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.training import tiny_faces
from helpers.training.pictures import encoded, picture
from helpers.training.training_tools import opened
from PIL import Image, ImageOps

from gputrain.engine.configuration import settings
from gputrain.engine.dataloading.random_resized_crop import CropGeometry
from gputrain.engine.imaging import jpeg_header
from gputrain.engine.imaging.decoding import Decoding
from gputrain.engine.training.cache.cache_forms import JpegForm, RawForm
from gputrain.engine.training.loader.make_loader import make_loader
from gputrain.engine.training.transforms import decode

TYPES = {"BYTE": (1, "B"), "SHORT": (3, "H"), "LONG": (4, "I"), "SLONG": (9, "i"), "FLOAT": (11, "f")}


def exif(value: int, kind: str = "SHORT", order: str = "<", before: bytes = b"", count: int = 1) -> bytes:
    number, code = TYPES[kind]
    packed = struct.pack(f"{order}{code}", value).ljust(4, b"\0")
    entry = struct.pack(f"{order}HHI", 0x0112, number, count) + packed
    head = b"II*\0" if order == "<" else b"MM\0*"
    entries = len(before) // 12 + 1
    return b"Exif\0\0" + head + struct.pack(f"{order}IH", 8, entries) + before + entry + b"\0\0\0\0"


def xmp(value: int, form: str) -> bytes:
    inner = f'tiff:Orientation="{value}"' if form == "attribute" else ""
    element = f"<tiff:Orientation>{value}</tiff:Orientation>" if form == "element" else ""
    return f"<x:xmpmeta><rdf:Description {inner}>{element}</rdf:Description></x:xmpmeta>".encode()


def options(tag: str, value: int) -> dict[str, Any]:
    if tag == "XMP attribute":
        return {"xmp": xmp(value, "attribute")}
    if tag == "XMP element":
        return {"xmp": xmp(value, "element")}
    if tag == "Exif before XMP":
        return {"exif": exif(value), "xmp": xmp(value % 8 + 1, "attribute")}
    if tag == "Exif without it":
        return {"exif": Image.Exif().tobytes(), "xmp": xmp(value, "attribute")}
    if tag == "invalid":
        return {"exif": exif(value + 8), "xmp": xmp(value, "attribute")}
    if tag == "two values":
        return {"exif": exif(value, "BYTE", count=2)}
    if tag == "twice":
        return {"exif": exif(value, before=exif(value % 8 + 1)[16:28])}
    kind, _, order = tag.partition(" ")
    return {"exif": exif(value, kind, ">" if order else "<")}


TAGS = (
    "SHORT", "SHORT big-endian", "LONG", "LONG big-endian", "SLONG", "BYTE", "FLOAT", "XMP attribute", "XMP element",
    "Exif before XMP", "Exif without it", "invalid", "two values", "twice",
)  # fmt: skip


def file_of(kind: str, image: Image.Image, given: dict[str, Any]) -> bytes:
    """Kinds of the fast decoder (JPEG), and those of Pillow."""
    if kind == "CMYK JPEG":
        return encoded(image.convert("CMYK"), "JPEG", **given)
    if kind == "PNG" and "xmp" in given:
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", given["xmp"].decode())
        return encoded(image, "PNG", pnginfo=info, **{k: v for k, v in given.items() if k != "xmp"})
    if kind == "WEBP":
        return encoded(image, "WEBP", lossless=True, **given)
    return encoded(image, kind, **given)


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("kind", ["JPEG", "CMYK JPEG", "PNG", "WEBP"])
def test_every_tag_turns_as_pillow_turns(kind: str, tag: str) -> None:
    turned = 0
    for value in range(1, 9):
        data = file_of(kind, picture(40, 24), options(tag, value))
        with Image.open(io.BytesIO(data)) as image:
            expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
        found = decode.decode(data, "a").astype(int)
        assert found.shape == expected.shape, value
        # libjpeg-turbo's and Pillow's JPEGs differ by rounding alone.
        assert np.abs(found - expected).max() <= (2 if kind == "JPEG" else 0), value
        turned += expected.shape[0] > expected.shape[1]
    # Pillow reads a BYTE as bytes, and takes no orientation from them.
    assert turned == (0 if tag in ("invalid", "two values", "BYTE") else 4)


@pytest.mark.parametrize("value", range(1, 9))
def test_tiffs_are_turned_once(value: int) -> None:
    """Pillow turns them while it loads them."""
    data = encoded(picture(40, 24), "TIFF", tiffinfo={0x0112: value})
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.convert("RGB"))
    assert (decode.decode(data, "a") == expected).all()
    assert expected.shape[:2] == ((40, 24) if value >= 5 else (24, 40))


@pytest.mark.parametrize("tag", ["LONG", "XMP attribute"])
@pytest.mark.parametrize("form", [RawForm(40), JpegForm()])
def test_caches_turn_as_files_do(form: RawForm | JpegForm, tag: str) -> None:
    for value in range(1, 9):
        data = file_of("JPEG", picture(60, 40), options(tag, value))
        cached, out = form.encode(data, "a"), torch.empty((32, 32, 3), dtype=torch.uint8).permute(2, 0, 1)
        direct = torch.empty_like(out)
        decode.decode_into(data, "a", whole, direct)
        form.render(cached, whole, out)
        assert (cached.width < cached.height) == (value >= 5)
        # A wrong turn differs by 50 on average, another compression of the picture by 1.
        assert (out.float() - direct.float()).abs().mean() <= 3


def whole(width: int, height: int) -> CropGeometry:
    return CropGeometry(0, 0, width, height, 32, 32, 0, 0)


def test_damaged_exif_data_turn_nothing() -> None:
    """Of what is cut off the entries before the damage count, as in Pillow."""
    block = exif(6)
    for cut in range(6, len(block)):
        header = jpeg_header.read_header(encoded(picture(16, 8), "JPEG", exif=block[:cut]))
        assert header is not None
        assert header.orientation == (6 if cut >= len(block) - 4 else 1)


@pytest.mark.parametrize("cache", ["none", "ram"])
@pytest.mark.parametrize("tag", ["SHORT", "LONG", "XMP attribute"])
def test_annotated_faces_are_cut_from_stored_pixels(
    cache: str, tag: str, tmp_path: Path, private_homes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The box of the landmarks holds for them, whatever the orientation tag: the face must stay in the crop."""
    home = tiny_faces.lp300w(tmp_path / "faces")
    config = settings.build({
        "dataset": "300wlp", "data_dir": str(home), "train_split": "300W_LP", "val_split": "AFLW2000",
        "image_size": 32, "val_resize": 32, "batch_size": 4, "num_workers": 0, "augment": "none", "device": "cpu",
        "cache": cache,
    })  # fmt: skip
    before = _pixels(config)
    for file in sorted((home / "300W_LP").rglob("*.jpg")):
        data = file.read_bytes()
        segment = options(tag, 6)
        block = segment.get("exif") or b"http://ns.adobe.com/xap/1.0/\0" + segment["xmp"]
        file.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:])
        with Image.open(file) as image:
            assert ImageOps.exif_transpose(image).size == image.size[::-1]
    assert torch.equal(_pixels(config), before)


def _pixels(config: Any) -> torch.Tensor:
    data, _ = opened(config)
    assert data.train.decoding == Decoding(as_stored=True)
    loader = make_loader(data.train, config, train=False, pin=False)
    try:
        return torch.cat([batch.images.clone() for batch in loader.epoch(0)])
    finally:
        loader.close()
