"""Folders as file servers, phones and people leave them: what counts as an image, what is skipped, and what is said."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.machines import NO_GPU
from helpers.training.pictures import encoded, folder, picture
from helpers.training.training_tools import opened
from PIL import Image

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.datasets import image_files
from gputrain.engine.datasets.image_files import EXTENSIONS, count_images
from gputrain.engine.datasets.image_set import found_at, scan
from gputrain.engine.events import DataReady, Notice
from gputrain.engine.training.transforms import decode
from gputrain.profiles.resolve_plan import resolve_plan

NO_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats that Pillow only identifies, or draws: documents, tables, videos, drawings."""
NFC, NFD = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")


def test_every_suffix_that_pillow_reads_counts() -> None:
    Image.init()
    registered = Image.registered_extensions().items()
    # Pillow opens MPO through its JPEG reader.
    read = {*Image.OPEN, "MPO"} - NO_PICTURES
    known = {suffix for suffix, kind in registered if kind in read}
    assert set(EXTENSIONS) == known
    assert not image_files.UNREADABLE & known


@pytest.mark.parametrize("ignored", sorted(image_files.IGNORED_FOLDERS))
def test_folders_of_servers_and_systems_are_no_classes(ignored: str, tmp_path: Path) -> None:
    """Neither beside the classes nor inside one."""
    home = folder(tmp_path, classes=2, per_class=3) / "train"
    for place in (home / ignored, home / "class_1" / ignored):
        (place / "inner").mkdir(parents=True)
        (place / "thumb.jpg").write_bytes(encoded(picture(8, 8)))
        (place / "inner" / "thumb.jpg").write_bytes(encoded(picture(8, 8)))
    found = scan(str(tmp_path), "train")
    assert found.classes == ("class_0", "class_1")
    assert len(found) == 6
    assert dict(found.skipped) == {f"{ignored} folder": 2}
    counted = count_images(tmp_path, "train", "", 30)
    assert counted is not None
    assert (counted.train_images, counted.skipped) == (6, found.skipped)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """One picture in each of several formats, with their usual and rarer suffixes, and other files."""
    home = tmp_path / "data"
    image = picture(40, 30)
    for split in ("train", "val"):
        place = home / split / "a"
        place.mkdir(parents=True)
        for suffix in ("jpg", "jfif", "jpe", "JPEG"):
            (place / f"1.{suffix}").write_bytes(encoded(image))
        for suffix, kind in {"png": "PNG", "avif": "AVIF", "jp2": "JPEG2000", "j2k": "JPEG2000", "tif": "TIFF"}.items():
            (place / f"2.{suffix}").write_bytes(encoded(image, kind))
        for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM"):
            (place / f"without_suffix_{kind}").write_bytes(encoded(image, kind))
        for name in ("a.txt", "b.txt", "c.heic", "d.HEIC", "e.jxl", "notes", ".hidden.jpg", "Thumbs.db"):
            (place / name).write_bytes(b"no picture")
    return home


def test_pictures_of_two_lenses_are_images(tmp_path: Path) -> None:
    """MPO: the first picture is used."""
    home = folder(tmp_path, classes=1, per_class=1)
    (home / "val" / "class_0").mkdir(parents=True)
    first, second = picture(40, 30), Image.new("RGB", (40, 30))
    for split in ("train", "val"):
        data = encoded(first, "MPO", save_all=True, append_images=[second])
        (home / split / "class_0" / "stereo.MPO").write_bytes(data)
    found = scan(str(home), "train")
    assert (len(found), found.skipped) == (2, ())
    counted = count_images(home, "train", "val", 30)
    assert counted is not None
    assert (counted.train_images, counted.val_images, counted.skipped) == (2, 1, ())
    (index,) = [index for index in range(2) if found.path(index).endswith(".MPO")]
    pixels = decode.decode(Path(found.path(index)).read_bytes(), "a")
    with Image.open(found.path(index)) as pillow:
        assert np.abs(pixels.astype(int) - np.asarray(pillow)).max() <= 2
    assert pixels.any()


def test_all_of_them_are_images_and_the_rest_is_counted(mixed: Path) -> None:
    found = scan(str(mixed), "train")
    assert len(found) == 4 + 5 + 9
    for index in range(len(found)):
        assert decode.decode(Path(found.path(index)).read_bytes(), found.path(index)).shape == (30, 40, 3)
    assert dict(found.skipped) == {".txt": 2, ".heic": 2, ".jxl": 1, ".db": 1, "no suffix": 1}
    counted = count_images(mixed, "train", "val", 30)
    assert counted is not None
    assert (counted.train_images, counted.val_images) == (18, 18)
    assert dict(counted.skipped) == {kind: 2 * count for kind, count in found.skipped}


def test_plan_and_record_name_what_was_skipped(mixed: Path, private_homes: Path) -> None:
    plan = resolve_plan(NO_GPU, recipe="simple-cnn", data_dir=str(mixed))
    assert dict(plan.facts)["skipped files"] == "4 .heic, 4 .txt, 2 .db, 2 .jxl, 2 no suffix"
    warning = "not read: 4 .heic, 2 .jxl files, which Pillow cannot open; convert them to PNG, TIFF or JPEG"
    assert f"data_dir: {warning}" in plan.warnings
    _, events = opened(settings.build({"dataset": "imagefolder", "data_dir": str(mixed), "device": "cpu"}))
    (ready,) = [event for event in events if isinstance(event, DataReady)]
    assert dict(ready.skipped) == {".txt": 4, ".heic": 4, ".jxl": 2, ".db": 2, "no suffix": 2}
    notices = [(event.level, event.text) for event in events if isinstance(event, Notice)]
    assert ("warning", warning) in notices
    assert ("info", "skipped in the folders of images: 4 .heic, 4 .txt, 2 .db, 2 .jxl, 2 no suffix") in notices


def test_a_class_of_unreadable_pictures_names_them(tmp_path: Path) -> None:
    place = folder(tmp_path, classes=1) / "train" / "phone"
    place.mkdir()
    (place / "1.heic").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"phone has no images .*skipped so far: 1 \.heic"):
        scan(str(tmp_path), "train")


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


@pytest.mark.parametrize(("train", "val"), [(NFC, NFD), (NFD, NFC)])
def test_unicode_forms_of_one_name_are_one_class(train: str, val: str, tmp_path: Path) -> None:
    for split, name in (("train", train), ("val", val)):
        for other in (name, "tea", "zebra"):
            (tmp_path / split / other).mkdir(parents=True)
            (tmp_path / split / other / "1.jpg").write_bytes(encoded(picture(9, 9)))
    known = scan(str(tmp_path), "train")
    found = scan(str(tmp_path), "val", setting="val_split", classes=known.classes)
    assert found.classes == known.classes
    assert [known.classes[label] for label in found.labels] == [train, "tea", "zebra"]
    images, labelled = found_at(tmp_path / "val", known.classes)
    assert labelled
    assert images.labels.tolist() == found.labels.tolist()


def test_both_forms_in_one_split_are_named(tmp_path: Path) -> None:
    for name in (NFC, NFD):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "1.jpg").write_bytes(encoded(picture(9, 9)))
    if len(list((tmp_path / "train").iterdir())) == 1:
        pytest.skip("this file system has one form of each name")
    with pytest.raises(BadInput, match=r"two folders called 'café', one in the Unicode form NF[CD], one in NF[CD]"):
        scan(str(tmp_path), "train")


@pytest.mark.parametrize("kind", ["fifo", "unreadable"])
def test_special_files_do_not_stop_a_scan(kind: str, tmp_path: Path, private_homes: Path) -> None:
    """Nor a plan, which opens some files."""
    home = folder(tmp_path, classes=1, per_class=2)
    for split in ("train", "val"):
        (home / split / "class_0").mkdir(parents=True, exist_ok=True)
        (home / split / "class_0" / "1.jpg").write_bytes(encoded(picture(9, 9)))
        for name in ("0.jpg", "0"):
            place = home / split / "class_0" / name
            os.mkfifo(place) if kind == "fifo" else place.touch(0)
    plan: Any = resolve_plan(NO_GPU, recipe="simple-cnn", data_dir=str(home))
    assert plan.refuses == ()
    assert len(scan(str(home), "train")) == (3 if kind == "fifo" else 4)
