from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from helpers.training.pictures import encoded, photograph, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision.transforms import functional

from gputrain.engine.dataloading.random_resized_crop import CropDraw, CropGeometry
from gputrain.engine.imaging import jpeg_header, scaled_decode
from gputrain.engine.training.transforms import decode
from gputrain.engine.training.transforms.decode import BadImage

Pixels = npt.NDArray[np.uint8]
JPEGS: dict[str, dict[str, Any]] = {
    "4:2:0": {},
    "4:2:2": {"subsampling": 1},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_blocks": 3},
    "restart markers by row, progressive": {"progressive": True, "restart_marker_rows": 1},
}


def cut(data: bytes, geometry: CropGeometry, size: int) -> Pixels:
    out = torch.zeros((1, 3, size, size), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    decode.decode_into(data, "a.jpg", lambda width, height: geometry, out[0])
    pixels: Pixels = out[0].permute(1, 2, 0).numpy()
    return pixels


def reference(data: bytes, geometry: CropGeometry) -> npt.NDArray[np.int64]:
    """torchvision's reference transform: Pillow's decoder, crop and antialiased resize."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    left, top, width, height = geometry[:4]
    resized = functional.resized_crop(
        image, top, left, height, width, [geometry.resized_height, geometry.resized_width], antialias=True
    )
    return np.asarray(resized).astype(np.int64)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def box(left: int, top: int, width: int, height: int, size: int) -> CropGeometry:
    return CropGeometry(left, top, width, height, size, size, 0, 0)


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("place", [(0, 0, 90, 70), (33, 17, 150, 111), (120, 90, 177, 160), (0, 0, 297, 250)])
def test_a_crop_equals_the_reference(kind: str, place: tuple[int, int, int, int]) -> None:
    data = encoded(picture(297, 250), **JPEGS[kind])
    geometry = box(*place, 128)
    difference = np.abs(cut(data, geometry, 128) - reference(data, geometry))
    assert difference.max() <= 2
    assert difference.mean() < 0.1


@given(width=st.integers(1, 96), height=st.integers(1, 96))
@settings(deadline=None, max_examples=60)
def test_upscaling_equals_the_antialiased_kernel(width: int, height: int) -> None:
    """Without downscaling, the kernel without antialiasing returns the same bytes as the antialiased one."""
    pixels = np.asarray(picture(width, height)).copy()
    out = torch.zeros((1, 3, 96, 96), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    decode.resize(pixels, box(0, 0, width, height, 96), 1, out[0])
    whole = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(whole, size=(96, 96), mode="bilinear", antialias=True)
    assert torch.equal(out, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_scaled_decoding_stays_near_the_reference(factor: int, orientation: int) -> None:
    """Boxes anywhere in images of odd sizes, in all orientations: none is displaced."""
    random = np.random.default_rng(factor * 10 + orientation)
    width, height = 120 * factor + 203, 120 * factor + 131
    data = encoded(photograph(width, height, orientation), exif=turned(orientation))
    if orientation >= 5:
        width, height = height, width
    factors = set()
    for _ in range(8):
        wide, high = (int(random.integers(60 * factor, 120 * factor)) for _ in range(2))
        geometry = box(int(random.integers(width - wide + 1)), int(random.integers(height - high + 1)), wide, high, 60)
        factors.add(scaled_decode.aligned(scaled_decode.as_stored(geometry, orientation, width, height, 60))[1])
        difference = np.abs(cut(data, geometry, 60) - reference(data, geometry))
        assert difference.mean() < 3
        assert difference.max() < 40
    assert factor in factors


@pytest.mark.parametrize("orientation", range(1, 9))
def test_scaled_decoding_of_odd_sizes_keeps_the_edges(orientation: int) -> None:
    """The last decoded pixel of a row covers one pixel of the image and seven outside."""
    ramp = np.broadcast_to(np.linspace(0, 255, 1601)[None, :, None], (1031, 1601, 3)).astype(np.uint8)
    data = encoded(Image.fromarray(ramp), exif=turned(orientation))
    width, height = (1031, 1601) if orientation >= 5 else (1601, 1031)
    geometry = CropDraw("centre", 128, 128).geometry([], width, height)
    assert scaled_decode.aligned(scaled_decode.as_stored(geometry, orientation, width, height, 128))[1] == 8
    kept = reference(data, geometry)[geometry.kept_top :, geometry.kept_left :][:128, :128]
    assert np.abs(cut(data, geometry, 128) - kept).max() <= 3
    assert np.abs(decode.decode_reduced(data, "a", 128).astype(int) - reference(data, geometry)).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("width", "height"), [(1, 40), (40, 1), (1, 1)])
def test_images_of_one_row_or_column(width: int, height: int, orientation: int) -> None:
    data = encoded(picture(width, height), exif=turned(orientation))
    if orientation >= 5:
        width, height = height, width
    geometry = box(0, 0, width, height, 32)
    assert np.abs(cut(data, geometry, 32) - reference(data, geometry)).max() <= 2


@given(
    place=st.tuples(st.integers(0, 900), st.integers(0, 900), st.integers(1, 4000), st.integers(1, 4000)),
    size=st.integers(1, 224),
)
def test_an_aligned_box_shows_the_same_part(place: tuple[int, int, int, int], size: int) -> None:
    """It begins at whole decoded pixels, ends with the box, and is displaced by at most 1/16 pixel."""
    left, top, width, height = place
    geometry = box(left, top, width, height, size)
    part, factor = scaled_decode.aligned(geometry)
    assert factor <= scaled_decode.shrink(geometry)
    assert part.left % factor == part.top % factor == 0 or factor == 1
    assert (part.left + part.width, part.top + part.height) == (left + width, top + height)
    assert (part.resized_width - part.kept_left, part.resized_height - part.kept_top) == (size, size)
    step = width / size
    assert abs(part.left + part.kept_left * step - left) <= factor * scaled_decode.TOLERANCE + 1e-6


@pytest.mark.parametrize(
    ("width", "height", "factor"),
    [(128, 128, 1), (255, 300, 1), (256, 300, 2), (511, 512, 2), (600, 512, 4), (9000, 1100, 8)],
)
def test_scaled_decoding_never_falls_below_the_target(width: int, height: int, factor: int) -> None:
    assert scaled_decode.shrink(box(0, 0, width, height, 128)) == factor


@given(bottom=st.integers(1, 250), kind=st.sampled_from(sorted(JPEGS)), factor=st.sampled_from([1, 2, 4]))
@settings(deadline=None, max_examples=60)
def test_decoding_the_upper_part_changes_no_pixel(bottom: int, kind: str, factor: int) -> None:
    import simplejpeg

    data = encoded(picture(297, 250), **JPEGS[kind])
    header = jpeg_header.read_header(data)
    assert header is not None

    def scaled(raw: bytes | bytearray, rows: int) -> Pixels:
        minimum = (0, 0) if factor == 1 else (-(-rows // factor), -(-297 // factor))
        pixels: Pixels = simplejpeg.decode_jpeg(
            raw, min_height=minimum[0], min_width=minimum[1], min_factor=factor, strict=False
        )
        return pixels

    rows = jpeg_header.rows_for(header, bottom)
    part = scaled(jpeg_header.upper_part(data, header, rows), rows)
    assert np.array_equal(part[: bottom // factor], scaled(data, 250)[: bottom // factor])


def test_validation_equals_the_reference() -> None:
    data = encoded(picture(300, 211))
    view = CropDraw("centre", 96, 112)
    image = functional.center_crop(functional.resize(Image.open(io.BytesIO(data)), [112], antialias=True), [96])
    difference = np.abs(cut(data, view.geometry([], 300, 211), 96) - np.asarray(image).astype(int))
    assert difference.max() <= 2
    assert difference.mean() < 0.1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    data = encoded(picture(160, 96), kind, exif=turned(orientation))
    upright = decode.decode(data, "a")
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert np.array_equal(upright, expected)
    geometry = box(3, 5, 80, 70, 64)
    assert np.abs(cut(data, geometry, 64) - reference(data, geometry)).max() <= 2


def test_an_invalid_orientation_is_ignored() -> None:
    for block in (b"", b"II*\0", b"XX*\0\0\0\0\0", b"II*\0\x08\0\0\0\xff\xff", b"MM\0*\xff\xff\xff\xff"):
        assert jpeg_header.exif_orientation(block) == 1
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, 9, 0)
    assert jpeg_header.exif_orientation(b"MM\0*\0\0\0\x08\0\x01" + entry) == 1


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("RGBA", "PNG"),
        ("LA", "PNG"),
        ("P", "PNG"),
        ("1", "PNG"),
        ("RGB", "WEBP"),
        ("RGB", "BMP"),
        ("P", "GIF"),
        ("RGB", "TIFF"),
        ("RGB", "PPM"),
    ],
)
def test_every_format_equals_pillows_rgb(mode: str, kind: str) -> None:
    data = encoded(picture(60, 50).convert(mode), kind)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode.decode(data, "a"), expected)
    out = cut(data, box(0, 0, 60, 50, 32), 32)
    assert out.any()


def test_transparent_palettes_and_sixteen_bits() -> None:
    palette = picture(40, 30).convert("P")
    data = encoded(palette, "PNG", transparency=b"\x00\x80\xff")
    assert decode.decode(data, "a").shape == (30, 40, 3)
    deep = (np.arange(64 * 64, dtype=np.uint16) * 16).reshape(64, 64)
    pixels = decode.decode(encoded(Image.fromarray(deep), "PNG"), "a")
    assert np.array_equal(pixels[:, :, 0], deep >> 8)
    assert np.array_equal(pixels[:, :, 2], deep >> 8)


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode.decode(data, "a")[0, 0].tolist() == [255, 0, 0]


def _bomb() -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def _huge_jpeg() -> bytes:
    data = bytearray(encoded(picture(64, 64)))
    header = jpeg_header.read_header(bytes(data))
    assert header is not None
    struct.pack_into(">HH", data, header.height_at, 65_000, 65_000)
    return bytes(data)


WHOLE = encoded(picture(120, 100))
BAD = {
    "empty": (b"", "the file is empty"),
    "text": (b"<html>not found</html>", "not an image of a known format"),
    "cut off": (WHOLE[: len(WHOLE) // 2], "cannot be decoded: .*truncated"),
    "header only": (WHOLE[:200], "cannot be|not an image"),
    "two bytes": (WHOLE[:2], "not an image"),
    "torn png": (encoded(picture(50, 50), "PNG")[:900], "cannot be decoded"),
    "bomb": (_bomb(), "pixels|bomb"),
    "huge jpeg": (_huge_jpeg(), "65000 × 65000 pixels, more than the limit"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_bad_images_with_a_reason(kind: str) -> None:
    data, why = BAD[kind]
    with pytest.raises(BadImage, match=why) as caught:
        cut(data, box(0, 0, 40, 30, 32), 32)
    assert caught.value.path == "a.jpg"
    with pytest.raises(BadImage, match=why):
        decode.decode(data, "a.jpg")


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_a_damaged_file_is_decoded_or_a_bad_image(data: st.DataObject) -> None:
    damaged = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(damaged)))
    try:
        pixels = decode.decode(bytes(damaged[:end]), "a")
    except BadImage:
        return
    assert pixels.shape[2] == 3


def test_trailing_bytes_are_ignored(tmp_path: Path) -> None:
    geometry = box(10, 10, 60, 50, 32)
    assert np.array_equal(cut(WHOLE + b"\0" * 100, geometry, 32), cut(WHOLE, geometry, 32))
