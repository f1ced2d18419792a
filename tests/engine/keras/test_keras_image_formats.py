"""Every kind of image file that engine=keras reads has the same pixels as in the PyTorch engine."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.keras.keras_tools import needs_tensorflow, own_environment
from PIL import Image, ImageOps, PngImagePlugin

from gputrain.engine.imaging import pillow_decode

pytestmark = needs_tensorflow
__all__ = ["own_environment"]

SIDE = 48


def picture(mode: str = "RGB") -> Image.Image:
    """An image without symmetry, in `mode`."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    pixels = np.stack((rows * 5, columns * 5, (rows + 2 * columns) % 256), 2).astype(np.uint8)
    pixels[:12, :20] = (250, 20, 30)
    image = Image.fromarray(pixels)
    if mode == "I;16":
        return Image.fromarray((np.asarray(image.convert("L")).astype(np.uint16) * 257 + 60).astype(np.uint16))
    if mode == "RGBA":
        image.putalpha(Image.fromarray((rows * 5).astype(np.uint8)))
        return image
    if mode == "LA":
        grey = image.convert("L").convert("LA")
        grey.putalpha(Image.fromarray((rows * 5).astype(np.uint8)))
        return grey
    return image.quantize(32) if mode == "P" else image.convert(mode)


def saved(kind: str, mode: str = "RGB", **options: Any) -> Callable[[], bytes]:
    def write() -> bytes:
        file = io.BytesIO()
        picture(mode).save(file, kind, **options)
        return file.getvalue()

    return write


def frames(kind: str, mode: str = "RGB") -> Callable[[], bytes]:
    more = {"lossless": True} if kind == "WEBP" else {}
    return saved(kind, mode, save_all=True, append_images=[picture(mode).rotate(90)], duration=100, **more)


def turned(kind: str, orientation: int, **options: Any) -> Callable[[], bytes]:
    exif = Image.Exif()
    exif[274] = orientation
    return saved(kind, exif=exif, **options)


def bitmap(bits: int, compression: int, table: bytes, body: bytes) -> bytes:
    """A BMP file with a BITMAPINFOHEADER."""
    start = 14 + 40 + len(table)
    header = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, bits, compression, len(body), 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + table + body


def png_turned_at_its_end() -> bytes:
    """A large PNG whose eXIf chunk follows the pixels."""
    exif = Image.Exif()
    exif[274] = 8
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG", exif=exif)
    data = file.getvalue()
    at = data.index(b"eXIf") - 4
    length = 12 + int.from_bytes(data[at : at + 4], "big")
    return data[:at] + data[at + length : -12] + data[at : at + length] + data[-12:]


def png_with_text() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", "a program")
    return saved("PNG", pnginfo=text)()


def jpeg_turned_by_xmp() -> bytes:
    xmp = (
        b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
        b"<rdf:Description xmlns:tiff='http://ns.adobe.com/tiff/1.0/' tiff:Orientation=\"6\"/></rdf:RDF></x:xmpmeta>"
    )
    return saved("JPEG", quality=95, xmp=xmp)()


def bmp_565() -> bytes:
    pixels = np.asarray(picture())[::-1].astype(np.uint16)
    packed = (pixels[..., 0] >> 3 << 11) | (pixels[..., 1] >> 2 << 5) | (pixels[..., 2] >> 3)
    return bitmap(16, 3, struct.pack("<III", 0xF800, 0x07E0, 0x001F), packed.astype("<u2").tobytes())


def bmp_rle8() -> bytes:
    image = picture("P")
    palette = np.zeros((256, 4), np.uint8)
    colours = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
    palette[: len(colours), :3] = colours[:, ::-1]
    rows = (b"".join(bytes((1, value)) for value in row) + b"\0\0" for row in np.asarray(image)[::-1].tolist())
    return bitmap(8, 1, palette.tobytes(), b"".join(rows) + b"\0\1")


KINDS: dict[str, Callable[[], bytes]] = {
    "bmp 1": saved("BMP", "1"),
    "bmp palette": saved("BMP", "P"),
    "bmp grey": saved("BMP", "L"),
    "bmp 24": saved("BMP"),
    "bmp 32": saved("BMP", "RGBA"),
    "bmp 565": bmp_565,
    "bmp rle8": bmp_rle8,
    "webp lossless": saved("WEBP", lossless=True),
    "webp lossy": saved("WEBP", quality=80),
    "webp alpha": saved("WEBP", "RGBA", lossless=True),
    "webp frames": frames("WEBP"),
    "webp alpha frames": frames("WEBP", "RGBA"),
    "webp turned": turned("WEBP", 6, lossless=True),
    "gif": saved("GIF", "P"),
    "gif transparent": saved("GIF", "P", transparency=3),
    "gif frames": frames("GIF"),
    "png 1": saved("PNG", "1"),
    "png grey": saved("PNG", "L"),
    "png grey alpha": saved("PNG", "LA"),
    "png palette": saved("PNG", "P"),
    "png palette transparent": saved("PNG", "P", transparency=3),
    "png": saved("PNG"),
    "png alpha": saved("PNG", "RGBA"),
    "png 16": saved("PNG", "I;16"),
    "png turned": turned("PNG", 6),
    "png frames": frames("PNG"),
    "png text": png_with_text,
    "jpeg": saved("JPEG", quality=95),
    "jpeg grey": saved("JPEG", "L", quality=95),
    "jpeg progressive": saved("JPEG", quality=95, progressive=True),
    "jpeg cmyk": saved("JPEG", "CMYK", quality=95),
    "mpo": frames("MPO"),
    **{f"jpeg turned {n}": turned("JPEG", n, quality=95) for n in range(2, 9)},
}
SUFFIXES = {"jpeg": "jpg"}


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_pixels_equal_the_pytorch_engines(tmp_path: Path, kind: str, random: bool) -> None:
    from gputrain.engine.dataloading import random_resized_crop
    from gputrain.engine.keras.data.tf_transforms import View
    from gputrain.engine.training.transforms.decode import decode

    data = KINDS[kind]()
    path = tmp_path / f"image.{SUFFIXES.get(kind.split()[0], kind.split()[0])}"
    path.write_bytes(data)
    draws = random_resized_crop.uniforms(0, 0, np.array([7]))[0]
    # Nothing is resized: the whole image, or a random box of exactly its size.
    found = View(random, SIDE, SIDE, 1.0).pixels(str(path), draws).numpy().astype(int)
    right = decode(data, str(path)).astype(int)
    if random:
        left, top, width, height = random_resized_crop.random_crop_box(draws.tolist(), SIDE, SIDE, 1.0)
        small = Image.fromarray(right.astype(np.uint8)).crop((left, top, left + width, top + height))
        right = np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BILINEAR)).astype(int)
    tolerance = 0 if not kind.startswith(("jpeg", "mpo")) and not random else 3
    assert np.abs(found - right).max() <= tolerance


@pytest.mark.parametrize("make", [png_turned_at_its_end, jpeg_turned_by_xmp])
def test_any_orientation_that_pillow_reads_is_applied(tmp_path: Path, make: Callable[[], bytes]) -> None:
    from gputrain.engine.dataloading import random_resized_crop
    from gputrain.engine.keras.data.tf_transforms import View

    path = tmp_path / "image"
    path.write_bytes(make())
    with Image.open(path) as image:
        right = np.asarray(ImageOps.exif_transpose(image)).astype(int)
        assert not (right.shape == image.size[::-1] and (right == np.asarray(image)).all()), "the file is turned"
    draws = random_resized_crop.uniforms(0, 0, np.array([7]))[0]
    side = right.shape[0]
    found = View(False, side, side, 1.0).pixels(str(path), draws).numpy().astype(int)
    assert np.abs(found - right).max() <= 3


def test_deep_grey_images_are_decoded_in_the_value_range_of_the_settings(tmp_path: Path) -> None:
    """12-bit data in 16-bit files: 0…4095 is black to white."""
    from gputrain.engine.configuration.value_range import ValueRange
    from gputrain.engine.dataloading import random_resized_crop
    from gputrain.engine.imaging.decoding import Decoding
    from gputrain.engine.keras.data.tf_transforms import View
    from gputrain.engine.training.transforms.decode import decode

    path = tmp_path / "image.png"
    values = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE)
    Image.fromarray(values).save(path)
    draws = random_resized_crop.uniforms(0, 0, np.array([7]))[0]
    decoding = Decoding(ValueRange(0, 4095))
    found = View(False, SIDE, SIDE, 1.0, decoding).pixels(str(path), draws).numpy()
    assert (found == decode(path.read_bytes(), str(path), decoding)).all()
    assert (found[..., 0] == values // 16).all()


def test_which_files_tensorflow_decodes_itself() -> None:
    """The common kinds are not slowed down by Python."""
    plain = {kind for kind, make in KINDS.items() if pillow_decode.is_plain(make())}
    assert plain >= {"jpeg", "jpeg grey", "jpeg progressive", "png", "png alpha", "png palette", "png text"}
    assert not any(kind.startswith(("bmp", "webp", "gif")) or "turned" in kind for kind in plain)


def test_an_unreadable_file_has_a_reason(tmp_path: Path) -> None:
    from gputrain.engine.dataloading import random_resized_crop
    from gputrain.engine.keras.data import tf_data_pipeline
    from gputrain.engine.keras.data.tf_transforms import View
    from gputrain.engine.keras.library import tf

    path = tmp_path / "broken.webp"
    path.write_bytes(saved("WEBP")()[:40])
    draws = tf.constant(random_resized_crop.uniforms(0, 0, np.array([7]))[0])
    decode = tf.function(View(False, SIDE, SIDE, 1.0).pixels, autograph=False)
    with pytest.raises(tf_data_pipeline._FILE_ERRORS) as raised:
        decode(tf.constant(str(path)), draws)
    assert tf_data_pipeline._reason(raised.value).startswith(("cannot be decoded:", "not an image of a known format"))


def test_a_damaged_picture_before_another_one_is_refused(tmp_path: Path) -> None:
    from gputrain.engine.dataloading import random_resized_crop
    from gputrain.engine.keras.data.tf_transforms import View

    data = KINDS["mpo"]()
    end = data.index(b"\xff\xd9\xff\xd8")
    middle = (data.index(b"\xff\xda") + end) // 2
    path = tmp_path / "image.mpo"
    path.write_bytes(data[:middle].rstrip(b"\xff") + data[end:])
    draws = random_resized_crop.uniforms(0, 0, np.array([7]))[0]
    with pytest.raises(Exception, match="compressed data end too early"):
        View(False, SIDE, SIDE, 1.0).pixels(str(path), draws)


MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16")
LOSSY = ("JPEG", "JPEG2000", "MPO", "WEBP", "AVIF")


def written() -> dict[str, bytes]:
    """All that Pillow writes: each format in each mode."""
    found: dict[str, bytes] = {}
    Image.init()
    for kind in sorted(Image.SAVE):
        if kind in ("PDF", "PALM", "MPEG", "HDF5", "GRIB", "BUFR", "WMF", "EPS"):
            continue
        for mode in MODES:
            file = io.BytesIO()
            try:
                picture_of(mode).save(file, kind)
            except Exception:  # noqa: BLE001 - Pillow does not write this mode in this format
                continue
            found[f"{kind} {mode}"] = file.getvalue()
    return found


def picture_of(mode: str) -> Image.Image:
    if mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"):
        return picture(mode)
    if mode == "PA":
        return picture("P").convert("PA")
    if mode in ("I", "F"):
        return Image.fromarray(np.asarray(picture("L")).astype(np.int32 if mode == "I" else np.float32) * 3)
    return picture().convert(mode)


def test_all_that_pillow_writes_has_the_pixels_of_the_pytorch_engine(tmp_path: Path) -> None:
    """Equal pixels, or unreadable for both."""
    from gputrain.engine.dataloading import random_resized_crop
    from gputrain.engine.keras.data import tf_data_pipeline
    from gputrain.engine.keras.data.tf_transforms import View
    from gputrain.engine.keras.library import tf
    from gputrain.engine.training.transforms.decode import BadImage, decode

    draws = tf.constant(random_resized_crop.uniforms(0, 0, np.array([7]))[0])
    pixels = tf.function(View(False, SIDE, SIDE, 1.0).pixels, autograph=False)
    kinds = written()
    assert len(kinds) > 60
    seen = set()
    for name, data in kinds.items():
        path = tmp_path / "image"
        path.write_bytes(data)
        try:
            right = decode(data, name).astype(int)
        except BadImage:
            with pytest.raises(tf_data_pipeline._FILE_ERRORS):
                pixels(tf.constant(str(path)), draws)
            continue
        if right.shape != (SIDE, SIDE, 3):
            continue  # icons have several sizes; they are made square below in both engines
        seen.add(name.split()[0])
        difference = np.abs(pixels(tf.constant(str(path)), draws).numpy().astype(int) - right).max()
        assert difference <= (3 if name.split()[0] in LOSSY else 0), name
    assert seen >= {"BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP", "ICO"}


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
@pytest.mark.parametrize("side", [20, 90])
def test_resizing_equals_pillows(tmp_path: Path, kind: Any, side: int) -> None:
    from gputrain.engine.dataloading import random_resized_crop
    from gputrain.engine.imaging.decoding import Decoding
    from gputrain.engine.keras.data.tf_transforms import View

    path = tmp_path / "image.png"
    picture().save(path)
    draws = random_resized_crop.uniforms(0, 0, np.array([7]))[0]
    methods = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    right = {name: np.asarray(picture().resize((side, side), how)).astype(int) for name, how in methods.items()}
    found = View(False, side, side, 1.0, Decoding(interpolation=kind)).pixels(str(path), draws).numpy().astype(int)
    # Pillow rounds and clamps between its two passes: bicubic overshoots at edges.
    most = 2 if kind == "bilinear" else 8
    assert np.abs(found - right[kind]).max() <= most
    assert np.abs(found - right[kind]).mean() < 0.3
    other = "bicubic" if kind == "bilinear" else "bilinear"
    assert np.abs(found - right[other]).max() > 5
    left, top, width, height = random_resized_crop.random_crop_box(draws.tolist(), SIDE, SIDE, 0.5)
    cropped = picture().crop((left, top, left + width, top + height)).resize((side, side), methods[kind])
    view = View(True, side, side, 0.5, Decoding(interpolation=kind))
    found = view.pixels(str(path), draws).numpy().astype(int)
    assert np.abs(found - np.asarray(cropped).astype(int)).max() <= most


@pytest.mark.parametrize("at", [0.3, 0.6, 0.9])
def test_a_jpeg_that_another_one_interrupts_is_bad_in_both_engines(tmp_path: Path, at: float) -> None:
    from gputrain.engine.dataloading import random_resized_crop
    from gputrain.engine.keras.data import tf_data_pipeline
    from gputrain.engine.keras.data.tf_transforms import View
    from gputrain.engine.keras.library import tf
    from gputrain.engine.training.transforms.decode import BadImage, decode

    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", quality=95)
    whole = file.getvalue()
    path = tmp_path / "image.jpg"
    path.write_bytes(whole[: int(at * len(whole))] + whole)
    with pytest.raises(BadImage):
        decode(path.read_bytes(), str(path))
    draws = tf.constant(random_resized_crop.uniforms(0, 0, np.array([7]))[0])
    for random in (False, True):
        pixels = tf.function(View(random, SIDE, SIDE, 0.5).pixels, autograph=False)
        with pytest.raises(tf_data_pipeline._FILE_ERRORS):
            pixels(tf.constant(str(path)), draws)


@pytest.mark.parametrize("random", [False, True])
def test_a_jpeg_whose_lower_part_is_missing_is_bad(tmp_path: Path, random: bool) -> None:
    from gputrain.engine.dataloading import random_resized_crop
    from gputrain.engine.keras.data import tf_data_pipeline
    from gputrain.engine.keras.data.tf_transforms import View
    from gputrain.engine.keras.library import tf

    whole = saved("JPEG")()
    path = tmp_path / "image.jpg"
    path.write_bytes(whole[: whole.index(b"\xff\xda") + 60].rstrip(b"\xff") + b"\xff\xd9")
    draws = tf.constant(random_resized_crop.uniforms(0, 0, np.array([7]))[0])
    pixels = tf.function(View(random, SIDE, SIDE, 1.0).pixels, autograph=False)
    with pytest.raises(tf_data_pipeline._FILE_ERRORS, match="compressed data end too early"):
        pixels(tf.constant(str(path)), draws)
    # Grey of the same value is no damage.
    Image.new("L", (SIDE, SIDE), 128).save(path)
    assert (pixels(tf.constant(str(path)), draws).numpy() == 128).all()


def test_squashed_images_equal_pillows(tmp_path: Path) -> None:
    from gputrain.engine.configuration import settings
    from gputrain.engine.dataloading import random_resized_crop
    from gputrain.engine.imaging.decoding import DEFAULT_DECODING
    from gputrain.engine.keras.data.tf_transforms import view_of

    path = tmp_path / "image.png"
    image = picture().resize((90, 50))
    image.save(path)
    config = settings.build({"image_size": 32, "val_resize": 40, "crop_mode": "squash"})
    draws = random_resized_crop.uniforms(0, 0, np.array([7]))[0]
    found = view_of(config.data, DEFAULT_DECODING, train=False).pixels(str(path), draws).numpy().astype(int)
    right = image.resize((40, 40), Image.Resampling.BILINEAR).crop((4, 4, 36, 36))
    assert np.abs(found - np.asarray(right).astype(int)).max() <= 2
