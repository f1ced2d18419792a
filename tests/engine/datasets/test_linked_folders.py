"""Links to folders among the classes: nothing is read twice without a word."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.machines import NO_GPU
from helpers.training.pictures import encoded, folder, picture
from helpers.training.training_tools import opened

from gputrain.engine.configuration import settings
from gputrain.engine.datasets.class_folder_count import count_images
from gputrain.engine.datasets.image_set import scan
from gputrain.engine.events import Notice
from gputrain.profiles.resolve_plan import resolve_plan


@pytest.mark.parametrize("target", ["train", "train/class_0", "."])
@pytest.mark.parametrize("place", ["train", "train/class_0"])
def test_a_link_to_a_parent_folder_doubles_nothing(target: str, place: str, tmp_path: Path) -> None:
    home = folder(tmp_path, classes=2, per_class=3)
    (home / place / "link").symlink_to(home / target)
    if place == "train" and target == "train/class_0":
        # A second name of one class is another class, which a person may want.
        assert len(scan(str(home), "train").classes) == 3
        return
    found = scan(str(home), "train")
    assert len(found) == 6
    assert dict(found.skipped) == {"link to a parent folder": 1}
    counted = count_images(home, "train", "", 30)
    assert counted is not None
    assert counted.train_images == 6


BOTH_CLASSES = "both classes have its images"
BOTH_SPLITS = "validation would use images of the training"


BOTH_CLASSES = "both classes have its images"
BOTH_SPLITS = "validation would use images of the training"


def test_a_single_class_is_warned_of(tmp_path: Path, private_homes: Path) -> None:
    """As an archive leaves it that was unpacked into a folder of its name: train/train/cat."""
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / split / "train" / name).mkdir(parents=True)
            (tmp_path / split / "train" / name / "1.png").write_bytes(encoded(picture(9, 9), "PNG"))
    expected = (
        "train/train is the only class folder: there is nothing to distinguish; expected one folder for each class "
        "(train/cat, train/dog)"
    )
    plan = resolve_plan(NO_GPU, recipe="simple-cnn", data_dir=str(tmp_path))
    assert [one for one in plan.warnings if "class folder" in one] == [f"data_dir: {expected}"]
    _, events = opened(settings.build({"dataset": "imagefolder", "data_dir": str(tmp_path), "device": "cpu"}))
    assert [event.text for event in events if isinstance(event, Notice) and event.level == "warning"] == [expected]


DOUBLED = {
    "a class": ("train/tabby", "train/class_0", BOTH_CLASSES),
    "in a class": ("train/class_1/more", "train/class_0", BOTH_CLASSES),
    "in val": ("val/class_0/more", "train/class_0", BOTH_SPLITS),
    "in train": ("train/class_1/more", "val/class_1", BOTH_SPLITS),
}


@pytest.mark.parametrize("case", DOUBLED)
def test_a_link_that_doubles_a_class_is_named(case: str, tmp_path: Path, private_homes: Path) -> None:
    """With its sub-folders, which are not named as well."""
    place, target, result = DOUBLED[case]
    home = folder(tmp_path, classes=2, per_class=3)
    for split in ("train", "val"):
        for name in ("class_0", "class_1"):
            (home / split / name / "inner").mkdir(parents=True, exist_ok=True)
            (home / split / name / "inner" / "1.png").write_bytes(encoded(picture(9, 9), "PNG"))
    if case == "a class":
        (home / "val" / "tabby").mkdir()
        (home / "val" / "tabby" / "1.png").write_bytes(encoded(picture(9, 9), "PNG"))
    (home / place).symlink_to(home / target)
    plan = resolve_plan(NO_GPU, recipe="simple-cnn", data_dir=str(home))
    one, two = sorted((place, target))
    expected = f"{one} and {two} are the same folder (a link), so that {result}; remove one of them"
    assert [one for one in plan.warnings if "same folder" in one] == [f"data_dir: {expected}"]
    _, events = opened(settings.build({"dataset": "imagefolder", "data_dir": str(home), "device": "cpu"}))
    assert [event.text for event in events if isinstance(event, Notice) and event.level == "warning"] == [expected]


def test_a_linked_validation_split_is_named_shortly(tmp_path: Path, private_homes: Path) -> None:
    home = folder(tmp_path, classes=5, per_class=2)
    (home / "val").symlink_to(home / "train")
    plan = resolve_plan(NO_GPU, recipe="simple-cnn", data_dir=str(home))
    (warning,) = [one for one in plan.warnings if "same folder" in one]
    assert "train/class_0 and val/class_0 are the same folder" in warning
    assert warning.endswith("; and 2 more such folders")


def test_links_to_other_places_are_no_fault(tmp_path: Path, private_homes: Path) -> None:
    """A split of links into one store, and two links to one folder within a class, which is read once."""
    store = folder(tmp_path / "store", classes=2, per_class=3) / "train"
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
    (tmp_path / "train" / "class_0").symlink_to(store / "class_0")
    (tmp_path / "val" / "class_0").mkdir()
    for name in ("one", "two"):
        (tmp_path / "val" / "class_0" / name).symlink_to(store / "class_1")
    plan = resolve_plan(NO_GPU, recipe="simple-cnn", data_dir=str(tmp_path))
    assert not [one for one in plan.warnings if "same folder" in one]
    found = scan(str(tmp_path), "val")
    assert len(found) == 3
    assert dict(found.skipped) == {"repeated link": 1}
    assert found.scan_result.doubled == ()
