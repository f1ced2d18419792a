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
from helpers.training.deep_pictures import tiff
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


@pytest.mark.parametrize("tag", ["SHORT", "LONG", "XMP"])
@pytest.mark.parametrize("planes", ["together", "separate"])
def test_tiffs_with_any_tag_are_turned_as_pillow_turns_them(planes: str, tag: str) -> None:
    """Also those with 16-bit planes, which are not decoded by Pillow."""
    rgb = np.asarray(picture(40, 24))
    for value in range(1, 9):
        packet = xmp(value, "attribute")
        extra = [(0x0112, 3 if tag == "SHORT" else 4, (value,))] if tag != "XMP" else [(700, 1, tuple(packet))]
        stored = [np.ascontiguousarray(rgb[..., n]) for n in range(3)]
        with Image.open(io.BytesIO(tiff(stored, photometric=2, extra=extra))) as image:
            image.load()
            expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        assert expected.shape[:2] == ((40, 24) if value >= 5 else (24, 40))
        if planes == "separate":
            stored = [plane.astype(np.uint16) * 257 for plane in stored]
        data = tiff(stored, photometric=2, extra=extra, separate=planes == "separate")
        assert np.array_equal(decode.decode(data, "a"), expected), value


KINDS = ("JPEG", "CMYK JPEG", "PNG", "WEBP", "TIFF")


def tagged(kind: str, tag: str, value: int, size: tuple[int, int] = (60, 40)) -> bytes:
    image = picture(*size)
    if kind != "TIFF":
        return file_of(kind, image, options(tag, value))
    extra = (
        [(700, 1, tuple(xmp(value, "attribute")))] if "XMP" in tag else [(0x0112, 3 if tag == "SHORT" else 4, (value,))]
    )
    return tiff([np.ascontiguousarray(np.asarray(image)[..., n]) for n in range(3)], photometric=2, extra=extra)


@pytest.mark.parametrize("cache", ["none", "raw", "jpeg"])
def test_a_folder_of_all_kinds_is_read_upright(cache: str, tmp_path: Path, private_homes: Path) -> None:
    """By reader and loader, from files and from both caches; the second epoch comes from the cache."""
    place = tmp_path / "data" / "train" / "a"
    place.mkdir(parents=True)
    right = {}
    for kind in KINDS:
        for tag in ("SHORT", "LONG", "XMP attribute"):
            for value in range(1, 9):
                name = f"{kind} {tag} {value}.{ {'WEBP': 'webp', 'PNG': 'png', 'TIFF': 'tif'}.get(kind, 'jpg') }"
                data = tagged(kind, tag, value, (48, 32))
                (place / name).write_bytes(data)
                with Image.open(io.BytesIO(data)) as image:
                    image.load()
                    turned = ImageOps.exif_transpose(image).convert("RGB")
                right[name] = np.asarray(turned.crop(_middle(turned))).astype(int)
    config = settings.build({
        "dataset": "imagefolder", "data_dir": str(tmp_path / "data"), "val_split": "", "image_size": 32,
        "val_resize": 32, "batch_size": 8, "num_workers": 0, "device": "cpu", "cache_resolution": 32,
        "cache": "none" if cache == "none" else "ram", "cache_form": "jpeg" if cache == "jpeg" else "raw",
    })  # fmt: skip
    dataset, _ = opened(config)
    loader = make_loader(dataset.train, config, train=False, pin=False)
    try:
        for epoch in (0, 1):
            images = [image.permute(1, 2, 0).numpy() for batch in loader.epoch(epoch) for image in batch.images.clone()]
            assert len(images) == len(right) == len(KINDS) * 3 * 8
            for index, image in enumerate(images):
                name = Path(dataset.train.path(index)).name
                # Wrong turns differ by 40 and more, JPEG once more by 4.
                assert np.abs(image.astype(int) - right[name]).mean() < 6, name
    finally:
        loader.close()


def _middle(image: Image.Image) -> tuple[int, int, int, int]:
    """The middle square of 32 pixels of an image whose short side has as many."""
    left, top = (image.width - 32) // 2, (image.height - 32) // 2
    return left, top, left + 32, top + 32


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tag", ["SHORT", "LONG", "XMP attribute"])
@pytest.mark.parametrize("form", [RawForm(40), JpegForm()])
def test_caches_turn_as_files_do(form: RawForm | JpegForm, tag: str, kind: str) -> None:
    for value in range(1, 9):
        data = tagged(kind, tag, value)
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
