"""`value_range`: the setting, and the range that a scan of a sample finds for training, validation and prediction."""

from __future__ import annotations

import multiprocessing
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes.machines import NO_GPU
from helpers.training.deep_pictures import png16, tiff, values
from helpers.training.pictures import encoded, folder
from helpers.training.training_tools import collecting, opened
from PIL import Image

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
from gputrain.profiles.resolve_plan import resolve_plan

TWELVE_BITS = Decoding(ValueRange(0, 4095))


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
        (tmp_path / split / "a" / "1.tif").write_bytes(tiff([np.ones((5, 4), np.float32)]))
        (tmp_path / split / "a" / "2.tif").write_bytes(tiff([np.ones((5, 4), np.uint16)]))
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
