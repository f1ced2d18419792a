"""Grey images above 8 bits: one value range for a whole set, compared with an independent computation."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from helpers.training.deep_pictures import fits, packed_12_bits, pgm, png16, tiff, values
from helpers.training.pictures import encoded
from PIL import Image, ImageCms, TiffImagePlugin

from gputrain.engine.configuration.value_range import ValueRange
from gputrain.engine.imaging.decoding import DEFAULT_DECODING, Decoding
from gputrain.engine.training.transforms import decode

TWELVE_BITS = Decoding(ValueRange(0, 4095))
Values = npt.NDArray[Any]


def expected(given: Values, low: float, high: float) -> Values:
    """8-bit grey by exact fractions: whole ranges are divided evenly into 256 steps, others rounded to 255ths."""
    whole = np.issubdtype(given.dtype, np.integer) and float(low).is_integer() and float(high).is_integer()

    def one(value: Any) -> int:
        share = min(max(Fraction(value), Fraction(low)), Fraction(high)) - Fraction(low)
        if whole:
            return int(share * 256 / (Fraction(high) - Fraction(low) + 1))
        return round(share * 255 / (Fraction(high) - Fraction(low)))

    return np.array([[one(value) for value in row] for row in given.tolist()], np.uint8)


def grey(data: bytes, decoding: Decoding = DEFAULT_DECODING) -> Values:
    pixels = decode.decode(data, "a", decoding)
    assert (pixels == pixels[:, :, :1]).all()
    return pixels[:, :, 0]


def jp2(given: Values) -> bytes:
    return encoded(Image.fromarray(given.astype(np.uint16)), "JPEG2000", irreversible=False)


U16, U32 = values(65535).astype(np.uint16), values(2**32 - 1).astype(np.uint32)
FLOATS = (values(1000, -200) / 1000).astype(np.float32)
FILES: dict[str, tuple[bytes, Values, tuple[float, float]]] = {
    "16-bit PNG": (png16(U16), U16, (0, 65535)),
    "16-bit JPEG 2000": (jp2(U16), U16, (0, 65535)),
    "uint16 TIFF": (tiff([U16]), U16, (0, 65535)),
    "uint16 TIFF, big-endian": (tiff([U16], order=">"), U16, (0, 65535)),
    "int16 TIFF": (tiff([values(32767, -32768).astype("i2")]), values(32767, -32768).astype("i2"), (-32768, 32767)),
    "int8 TIFF": (tiff([values(127, -128).astype("i1")]), values(127, -128).astype("i1"), (-128, 127)),
    "uint32 TIFF": (tiff([U32]), U32, (0, 2**32 - 1)),
    "int32 TIFF": (tiff([U32.view("i4")]), U32.view("i4"), (-(2**31), 2**31 - 1)),
    "float TIFF": (tiff([FLOATS]), FLOATS, (0, 1)),
    "float TIFF, big-endian": (tiff([FLOATS], order=">"), FLOATS, (0, 1)),
    "PFM": (b"Pf\n7 9\n-1.0\n" + FLOATS[::-1].tobytes(), FLOATS, (0, 1)),
    "uint16 FITS": (fits((U16.astype(int) - 32768).astype("i2"), BZERO=32768), U16, (0, 65535)),
    "int16 FITS": (fits(values(32767, -32768).astype("i2")), values(32767, -32768).astype("i2"), (-32768, 32767)),
    "uint32 FITS": (fits((U32.astype("i8") - 2**31).astype("i4"), BZERO=2**31), U32, (0, 2**32 - 1)),
    "scaled FITS": (fits(values(100).astype("i2"), BZERO=10, BSCALE=0.5), values(100) / 2 + 10, (-16374.0, 16393.5)),
    "float FITS": (fits(FLOATS, BSCALE=2), FLOATS * 2, (0, 1)),
    "12-bit PGM": (pgm(values(4095), 4095), values(4095), (0, 4095)),
    "PGM of 0 to 1000, as text": (pgm(values(1000), 1000, ascii_=True), values(1000), (0, 1000)),
    "12-bit TIFF, packed": (packed_12_bits(values(4095, shape=(9, 8))), values(4095, shape=(9, 8)), (0, 4095)),
    "16-bit PGM with a comment": (pgm(U16, 65535, comment=b"# 12 34 56\n"), U16, (0, 65535)),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("given", [None, (0, 4095), (-100.5, 3000), (0.25, 0.5)])
def test_values_are_mapped_exactly(kind: str, given: tuple[float, float] | None) -> None:
    data, true, full = FILES[kind]
    decoding = Decoding(ValueRange(*given) if given else None)
    difference = np.abs(grey(data, decoding).astype(int) - expected(true, *(given or full)))
    # Exact fractions and doubles may round a tie of floating-point values to either side.
    assert difference.max() <= (1 if true.dtype.kind == "f" else 0)
    assert difference.mean() < 0.02


def test_values_that_are_no_numbers_are_clipped() -> None:
    strange = np.array([[np.nan, np.inf, -np.inf, 0.5, 1.0, 0.0]], np.float32)
    assert grey(tiff([strange])).tolist() == [[0, 255, 0, 128, 255, 0]]


@pytest.mark.parametrize("true", [U16, FLOATS.clip(0, 1)], ids=["uint16", "float"])
def test_where_white_is_zero_greys_are_inverted(true: Values) -> None:
    """As Pillow does it for 8 bits."""
    assert (grey(tiff([true], photometric=0)).astype(int) == 255 - grey(tiff([true])).astype(int)).all()
    eight = values(255).astype(np.uint8)
    assert (grey(tiff([eight], photometric=0)) == 255 - eight).all()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("count", [3, 4])
def test_separate_planes_of_16_bits_equal_interleaved_ones(order: Literal["<", ">"], count: int) -> None:
    planes = [np.random.default_rng(n).integers(0, 65536, (33, 21)).astype(np.uint16) for n in range(count)]
    extra = [(338, 3, (2,))] if count == 4 else []
    true = np.stack(planes[:3], -1) >> 8
    for separate in (False, True):
        data = tiff(planes, photometric=2, separate=separate, order=order, extra=extra)
        assert (decode.decode(data, "a") == true).all()


def test_separate_planes_are_turned() -> None:
    planes = [np.random.default_rng(n).integers(0, 65536, (33, 21)).astype(np.uint16) for n in range(3)]
    data = tiff(planes, photometric=2, separate=True, extra=[(274, 3, (6,))])
    assert (decode.decode(data, "a") == np.rot90(np.stack(planes, -1) >> 8, -1)).all()


def test_separate_planes_of_other_colours_are_bad_images() -> None:
    planes = [np.random.default_rng(n).integers(0, 65536, (33, 21)).astype(np.uint16) for n in range(4)]
    with pytest.raises(decode.BadImage, match="separate planes"):
        decode.decode(tiff(planes, photometric=5, separate=True), "a")


ALPHA = ("La", "RGBa", "PA")
MODES = ("1", "L", "P", "LA", "PA", "La", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV")


def test_every_mode_of_pillows_tiff_reader_is_in_a_test_here() -> None:
    """TIFF has most modes; "La" and "RGBa" become "LA" and "RGBA"."""
    deep = {"I", "I;16", "I;16B", "F"}
    assert {mode for mode, _ in TiffImagePlugin.OPEN_INFO.values()} <= {*MODES, *deep, "LAB"}


def test_lab_colours_are_those_of_colour_management() -> None:
    rgb = Image.fromarray(np.random.default_rng(3).integers(0, 256, (5, 4, 3)).astype(np.uint8)).resize((40, 50))
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    to_lab = ImageCms.buildTransform(*profiles, "RGB", "LAB")
    lab = ImageCms.applyTransform(rgb, to_lab)
    assert lab is not None
    found = decode.decode(encoded(lab, "TIFF"), "a").astype(int)
    # The colours of LAB in 8 bits are coarser.
    assert np.abs(found - np.asarray(rgb)).mean() < 1.5


@pytest.mark.parametrize("mode", MODES)
def test_modes_of_8_bits_are_pillows(mode: str) -> None:
    """In each format that a mode is written to; no range changes them."""
    image = Image.fromarray(np.random.default_rng(3).integers(0, 256, (9, 7, 3)).astype(np.uint8))
    image = image.convert("LA" if mode == "La" else "RGBA").convert(mode) if mode in ALPHA else image.convert(mode)
    written = 0
    for kind in ("PNG", "TIFF", "WEBP", "BMP", "JPEG2000", "TGA"):
        file = io.BytesIO()
        try:
            image.save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
        except (OSError, ValueError, KeyError):
            continue
        written += 1
        opened = Image.open(io.BytesIO(file.getvalue()))
        opened.load()
        opened.info.pop("transparency", None)
        assert (decode.decode(file.getvalue(), "a", TWELVE_BITS) == np.asarray(opened.convert("RGB"))).all(), kind
    assert written or mode in ("PA", "La", "RGBa", "HSV", "YCbCr")
