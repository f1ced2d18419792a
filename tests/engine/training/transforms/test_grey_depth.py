"""Grey images above 8 bits: one value range for a whole set, compared with an independent computation."""

from __future__ import annotations

import io
import multiprocessing
import re
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from fakes.machines import NO_GPU
from helpers.training.deep_pictures import packed_12_bits, pgm, tiff
from helpers.training.pictures import encoded, folder
from helpers.training.training_tools import collecting, opened
from PIL import Image, ImageCms, TiffImagePlugin

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import keras_compatibility, settings, value_range
from gputrain.engine.configuration.value_range import ValueRange
from gputrain.engine.datasets import value_extremes, value_range_scan
from gputrain.engine.events import Notice
from gputrain.engine.imaging.decoding import DEFAULT_DECODING, Decoding
from gputrain.engine.planning.plan import Plan
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.training.inference import input_images
from gputrain.engine.training.loader.make_loader import make_loader
from gputrain.engine.training.transforms import decode
from gputrain.profiles.resolve_plan import resolve_plan

TWELVE_BITS = Decoding(ValueRange(0, 4095))
Values = npt.NDArray[Any]


def values(high: int, low: int = 0, shape: tuple[int, int] = (9, 7)) -> Values:
    """Random values with both extremes."""
    found = np.random.default_rng(high).integers(low, high, shape, endpoint=True)
    found.flat[:2] = low, high
    return found


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


def png16(given: Values) -> bytes:
    return encoded(Image.fromarray(given.astype(np.uint16)), "PNG")


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


@pytest.mark.parametrize(
    ("low", "high", "integers", "chosen"),
    [
        (1040, 1190, True, (0, 4095)),
        (0, 255, True, (0, 255)),
        (0, 256, True, (0, 1023)),
        (3, 4095, True, (0, 4095)),
        (3, 4096, True, (0, 16383)),
        (0, 65535, True, (0, 65535)),
        (0, 2**32 - 1, True, (0, 2**32 - 1)),
        (-1024, 3071, True, (-1024, 4095)),
        (-1, 10, True, (-1, 255)),
        (0.1, 1.0, False, (0, 1)),
        (0.1, 1.004, False, (0, 1.004)),
        (-0.5, 254.0, False, (-0.5, 254.0)),
    ],
)
def test_auto_is_the_smallest_depth_that_holds_the_values(
    low: float, high: float, integers: bool, chosen: tuple[float, float]
) -> None:
    assert value_range_scan.choose(low, high, integers=integers) == chosen


WRONG = ["", "12", "[1]", "[2, 1]", "[1, 1]", "[0, NaN]", "[0, 1, 2]", "[0, true]", 5, ["a", 1], [0, 10**400]]


@pytest.mark.parametrize("wrong", WRONG)
def test_other_ranges_are_refused_with_the_form(wrong: object) -> None:
    with pytest.raises(BadInput, match="value_range must be auto, bits, or two numbers"):
        settings.build({"value_range": wrong})


def test_ranges_are_read_from_files_and_command_lines() -> None:
    assert settings.build({"value_range": [0, 4095]}).data.value_range == "[0, 4095]"
    assert settings.parse_override("value_range=[0.5,1e3]") == ("value_range", "[0.5, 1000]")
    assert value_range.parse("[0.5, 1000]") == (0.5, 1000)


def twelve_bits(home: Path, low: int = 1040, high: int = 1190) -> Path:
    """Two classes of 12-bit pictures in 16-bit PNGs, of almost one grey each; validation has one bright pixel more."""
    rng = np.random.default_rng(8)
    for split, count in (("train", 6), ("val", 3)):
        for name, level in (("dark", low), ("light", high)):
            (home / split / name).mkdir(parents=True)
            for number in range(count):
                picture = rng.integers(level - 4, level + 4, (40, 40)).astype(np.uint16)
                if split == "val":
                    picture[0, 0] = 4000
                (home / split / name / f"{number}.png").write_bytes(png16(picture))
    return home


def pixels_of(images: Any, config: Any, **changes: Any) -> torch.Tensor:
    loader = make_loader(images, settings.replace(config, **changes), train=False, pin=False)
    try:
        return torch.cat([batch.images.clone() for batch in loader.epoch(0)])
    finally:
        loader.close()


@pytest.mark.parametrize("cache", ["none", "disk"])
@pytest.mark.parametrize("form", ["raw", "jpeg"])
def test_training_validation_prediction_and_caches_have_one_range(
    cache: str, form: str, tmp_path: Path, private_homes: Path
) -> None:
    home = twelve_bits(tmp_path / "data")
    config = settings.build({
        "dataset": "imagefolder", "data_dir": str(home), "image_size": 32, "val_resize": 40, "batch_size": 4,
        "num_workers": 0, "cache": cache, "cache_form": form, "device": "cpu",
    })  # fmt: skip
    data, _ = opened(config)
    assert data.val is not None
    assert data.train.decoding == data.val.decoding == TWELVE_BITS
    for images in (data.train, data.val):
        found = pixels_of(images, config).float()
        means = [found[torch.from_numpy(images.labels) == label].mean().item() for label in (0, 1)]
        assert means == pytest.approx([1040 / 16, 1190 / 16], abs=2)
    predicted, labelled, warnings = predicted_from(home / "val", config, data.train.classes)
    assert warnings == []
    assert labelled
    assert torch.equal(pixels_of(predicted, config, cache="none"), pixels_of(data.val, config, cache="none"))


def predicted_from(images: Path, config: Any, classes: tuple[str, ...]) -> tuple[Any, bool, list[str]]:
    """The images of a prediction, whether they have labels, and warnings."""
    outbox = multiprocessing.get_context("spawn").Queue()
    with collecting(outbox) as events:
        found, _, labelled = input_images.images_at(images, config, classes, EventReporter(outbox))
    return found, labelled, [event.text for event in events if isinstance(event, Notice) and event.level == "warning"]


@pytest.mark.parametrize("kept", ["auto", "[0, 4095]"])
def test_images_outside_the_runs_range_are_named_when_predicted(kept: str, tmp_path: Path, private_homes: Path) -> None:
    """The range stays that of the training. Validation images are not looked at."""
    home = twelve_bits(tmp_path / "data")
    (home / "val" / "dark" / "0.png").write_bytes(png16(values(65535, 60000)))
    config = settings.build({"dataset": "imagefolder", "data_dir": str(home), "value_range": kept, "device": "cpu"})
    other = tmp_path / "other"
    other.mkdir()
    (other / "1.png").write_bytes(png16(values(65535, 0, (60, 60))))
    for place in (other, other / "1.png"):
        found, _, (warning,) = predicted_from(place, config, ("dark", "light"))
        assert found.decoding == TWELVE_BITS
        assert re.match(
            r"images have values up to 65\d{3}, above the run's value_range \[0, 4095\]: they are clipped", warning
        )
    (other / "1.png").write_bytes(encoded(Image.new("RGB", (9, 9), (255, 0, 0)), "PNG"))
    assert predicted_from(other, config, ("dark", "light"))[2] == []


def test_deep_images_are_named_when_the_training_had_none(tmp_path: Path, private_homes: Path) -> None:
    home = folder(tmp_path / "data", classes=2, per_class=3)
    config = settings.build({"dataset": "imagefolder", "data_dir": str(home), "val_split": "", "device": "cpu"})
    (tmp_path / "1.png").write_bytes(png16(values(4095, 0, (60, 60))))
    found, _, (warning,) = predicted_from(tmp_path / "1.png", config, ("class_0", "class_1"))
    assert found.decoding == DEFAULT_DECODING
    assert warning.startswith("1 of 1 sampled images are grey with more than 8 bits, and the training images were not")
    assert "in the range of their type, [0, 65535]" in warning


def test_the_plan_shows_keeps_and_doubts_the_range(tmp_path: Path, private_homes: Path) -> None:
    home = twelve_bits(tmp_path / "data")
    plan = plan_of(home)
    (row,) = [row for row in plan.rows if row.setting == "value_range"]
    assert (row.value, row.origin) == ("[0, 4095]", "the images")
    assert row.note == "auto: 12 of 12 sampled images are grey with more than 8 bits, their values 1036 to 1193"
    assert plan.config.data.value_range == "[0, 4095]"
    (doubt,) = [text for text in plan.warnings if text.startswith("value_range")]
    assert "use less than an eighth of [0, 4095]" in doubt
    assert "value_range=[1036, 1193] uses all" in doubt
    assert not [text for text in plan_of(home, value_range="[1036, 1193]").warnings if "value_range" in text]
    assert [text for text in plan_of(home, value_range="[0, 65535]").warnings if "value_range" in text]


def test_images_of_8_bits_leave_the_range_alone(tmp_path: Path, private_homes: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir(parents=True)
        Image.new("L", (40, 40), 7).save(tmp_path / split / "a" / "1.png")
    plan = plan_of(tmp_path)
    assert plan.config.data.value_range == "auto"
    assert not [text for text in plan.warnings if "value_range" in text]


@pytest.mark.parametrize("given", ["auto", "bits", [0, 65535], [0, 4095]])
def test_keras_reads_deep_images_in_any_range(given: object) -> None:
    """Pillow decodes them for TensorFlow, too: see test_keras_image_formats."""
    values_ = settings.flatten(settings.build({"engine": "keras", "value_range": given}))
    assert not [text for text in keras_compatibility.refusals(values_) if text.startswith("value_range")]


def test_a_range_of_bits_that_is_hardly_used_is_doubted(tmp_path: Path, private_homes: Path) -> None:
    plan = plan_of(twelve_bits(tmp_path / "data"), value_range="bits")
    assert plan.config.data.value_range == "bits"
    assert [text for text in plan.warnings if "use less than an eighth of [0, 65535]" in text]


@pytest.mark.parametrize(("top", "doubted"), [(4095, True), (65535, False)])
def test_colours_of_16_bits_that_are_hardly_used_are_doubted(
    top: int, doubted: bool, tmp_path: Path, private_homes: Path
) -> None:
    """Of these Pillow gives the upper 8 bits alone."""
    planes = [values(top, shape=(40, 40)).astype(np.uint16)] * 3
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir(parents=True)
        (tmp_path / split / "a" / "1.tif").write_bytes(tiff(planes, photometric=2))
    warnings = plan_of(tmp_path).warnings
    assert bool([text for text in warnings if text.startswith("the images have 16 bits per colour")]) == doubted


def test_integers_beside_floating_point_values_are_doubted(tmp_path: Path, private_homes: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir(parents=True)
        (tmp_path / split / "a" / "1.tif").write_bytes(tiff([FLOATS]))
        (tmp_path / split / "a" / "2.tif").write_bytes(tiff([U16]))
    assert [text for text in plan_of(tmp_path).warnings if "mix integers and floating-point" in text]


def test_a_hot_pixel_does_not_widen_the_range(tmp_path: Path, private_homes: Path) -> None:
    home = ramps(tmp_path, 4095)
    assert plan_of(home).config.data.value_range == "[0, 4095]"
    assert not [text for text in plan_of(home).warnings if "value" in text]
    hot = home / "train" / "b" / "07.png"
    spoil(hot, pixels=1)
    plan = plan_of(home)
    assert plan.config.data.value_range == "[0, 4095]"
    (doubt,) = [text for text in plan.warnings if "value" in text]
    assert "1 of 24 sampled images have values outside [0, 4095]" in doubt
    assert f"{hot} has 65535" in doubt
    assert "value_range=[0, 65535]" in doubt
    config = settings.build({"data_dir": str(home)})
    assert value_range_scan.range_of(config) == (ValueRange(0, 4095), (doubt,))


@pytest.mark.parametrize(
    ("top", "images", "pixels", "chosen"),
    [
        (1023, 6, 1, 1023),
        (16383, 6, 1, 16383),
        (4095, 7, 1, 65535),  # no single accident: bright spots of the pictures
        (4095, 2, 1600, 4095),
        (4095, 3, 1600, 65535),  # an eighth of the images
        (16383, 1, 1600, 65535),  # two bits are not worth an image
    ],
)
def test_auto_is_the_range_of_almost_all_images(
    top: int, images: int, pixels: int, chosen: int, tmp_path: Path, private_homes: Path
) -> None:
    home = ramps(tmp_path, top)
    for number in range(images):
        spoil(home / "train" / "ab"[number % 2] / f"{number:02}.png", pixels)
    plan = plan_of(home)
    assert plan.config.data.value_range == f"[0, {chosen}]"
    clipped = [text for text in plan.warnings if f"{images} of 24 sampled images have values outside" in text]
    assert bool(clipped) == (chosen < 65535)


def test_a_range_that_only_bright_spots_fill_is_doubted(tmp_path: Path, private_homes: Path) -> None:
    home = ramps(tmp_path, 4095)
    for path in (home / "train").rglob("*.png"):
        spoil(path, pixels=1)
    (doubt,) = [text for text in plan_of(home).warnings if "value" in text]
    assert "99.9 % of the pixels have values from 7 to 4092, less than an eighth of [0, 65535]" in doubt


def test_validation_images_outside_the_range_are_named(tmp_path: Path, private_homes: Path) -> None:
    home = ramps(tmp_path, 4095)
    for name, level in (("a", 30000), ("b", 60000)):
        (home / "val" / name / "0.png").write_bytes(png16(np.full((40, 40), level)))
    clipped = "validation images have values up to 60000, above value_range [0, 4095]: they would be clipped to white"
    for given in ("auto", "[0, 4095]"):
        (doubt,) = [text for text in plan_of(home, value_range=given).warnings if "value" in text]
        assert doubt.startswith(clipped)
    _, (doubt,) = value_range_scan.range_of(settings.build({"data_dir": str(home)}))
    assert doubt.startswith(clipped)
    # A window that clips the training images, too, is the user's choice.
    assert not [text for text in plan_of(home, value_range="[0, 2000]").warnings if "validation" in text]
    assert not [text for text in plan_of(home, value_range="[0, 65535]").warnings if "validation" in text]


def test_validation_images_below_the_range_are_named(tmp_path: Path, private_homes: Path) -> None:
    home = ramps(tmp_path, 4095)
    (home / "val" / "a" / "0.tif").write_bytes(tiff([np.full((40, 40), -900, "i2")]))
    (doubt,) = [text for text in plan_of(home).warnings if "value" in text]
    assert doubt.startswith("validation images have values down to -900, below value_range [0, 4095]: they would be")


def ramps(home: Path, top: int) -> Path:
    """Two classes of 12 training images and one validation image, with all values from 0 to `top`."""
    for split, count in (("train", 12), ("val", 1)):
        for name in ("a", "b"):
            (home / split / name).mkdir(parents=True)
            for number in range(count):
                ramp = np.linspace(0, top, 1600).reshape(40, 40)
                (home / split / name / f"{number:02}.png").write_bytes(png16(ramp))
    return home


def spoil(path: Path, pixels: int) -> None:
    """Set pixels of an image to 65535."""
    given = np.array(Image.open(path))
    given.flat[:pixels] = 65535
    path.write_bytes(png16(given))


def plan_of(home: Path, **overrides: Any) -> Plan:
    return resolve_plan(NO_GPU, recipe="simple-cnn", data_dir=str(home), overrides={"image_size": 32, **overrides})


def test_a_scan_is_spread_over_the_classes_and_ends(tmp_path: Path) -> None:
    """Also with a link back to the folder itself."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        for number in range(100):
            (tmp_path / name / f"{number:03}.png").touch()
    (tmp_path / "c" / "back").symlink_to(tmp_path)
    found = value_extremes.sample(tmp_path, 30)
    assert len(found) == len(set(found)) == 30
    assert {Path(path).parent.name for path in found} == {"a", "b", "c"}
    assert found == value_extremes.sample(tmp_path, 30)
    assert len(value_extremes.sample(tmp_path, 1000)) == 300
