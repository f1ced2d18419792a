"""Folders as file servers, phones and people leave them: what counts as an image, what is skipped, and what is said."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.machines import NO_GPU
from helpers.training import tiny_clips
from helpers.training.pictures import encoded, folder, picture
from helpers.training.training_tools import opened
from PIL import Image

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.datasets import image_files
from gputrain.engine.datasets.class_folder_count import count_images
from gputrain.engine.datasets.image_files import EXTENSIONS
from gputrain.engine.datasets.image_set import found_at, scan
from gputrain.engine.datasets.skipped_files import SkippedFiles
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
    text = (
        "skipped in the folders of images: 4 .heic (train/a/c.heic), 4 .txt (train/a/a.txt), "
        "2 .db (train/a/Thumbs.db), 2 .jxl (train/a/e.jxl), 2 no suffix (train/a/notes)"
    )
    assert ("info", text) in [(level, _first_examples(found)) for level, found in notices]


def _first_examples(text: str) -> str:
    """`text` with the example that comes first by name: the scan takes the one that the folder lists first."""
    return text.replace("d.HEIC", "c.heic").replace("b.txt", "a.txt")


def test_the_record_names_every_kind_and_the_plan_the_commonest(tmp_path: Path, private_homes: Path) -> None:
    home = folder(tmp_path, classes=1, per_class=2)
    (home / "val" / "class_0").mkdir(parents=True)
    (home / "val" / "class_0" / "1.png").write_bytes(encoded(picture(9, 9), "PNG"))
    for number in range(45):
        (home / "train" / "class_0" / f"notes.k{number:02}").write_text("no picture")
    plan = resolve_plan(NO_GPU, recipe="simple-cnn", data_dir=str(home))
    shown = dict(plan.facts)["skipped files"]
    assert shown == ", ".join(f"1 .k{number:02}" for number in range(6)) + (
        " and 39 more kinds, which check and the record list"
    )
    for number in range(45):
        assert f"1 .k{number:02} (train/class_0/notes.k{number:02})" in " ".join(plan.skipped)
    _, events = opened(settings.build({"dataset": "imagefolder", "data_dir": str(home), "device": "cpu"}))
    texts = " ".join(
        event.text for event in events if isinstance(event, Notice) and event.text.startswith("skipped in")
    )
    for number in range(45):
        assert f"1 .k{number:02} (train/class_0/notes.k{number:02})" in texts
    (ready,) = [event for event in events if isinstance(event, DataReady)]
    assert len(ready.skipped) == 45


MISNAMED = ("photo.jpg.1", "photo.jpg~", "photo.jpg.part", "photo.jpg_original", "photo.jpeg-large", "2024.07.01 12.30")


@pytest.mark.parametrize("name", MISNAMED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "BMP", "PPM"])
def test_images_with_something_behind_their_suffix_are_named(
    name: str, kind: str, tmp_path: Path, private_homes: Path
) -> None:
    home = folder(tmp_path, classes=2, per_class=2)
    (home / "val" / "class_0").mkdir(parents=True)
    (home / "val" / "class_0" / "1.png").write_bytes(encoded(picture(9, 9), "PNG"))
    (home / "train" / "class_0" / name).write_bytes(encoded(picture(9, 9), kind))
    suffix = image_files.kind_of_file(name)
    (home / "train" / "class_0" / f"another{Path(name).suffix}").write_text("P1 and BM are not enough")
    expected = (
        f"not read: 2 {suffix} files, although they begin as images do (train/class_0/{name}); give those that are "
        "wanted the suffix of their format (.jpg, .png …)"
    )
    plan = resolve_plan(NO_GPU, recipe="simple-cnn", data_dir=str(home))
    assert f"data_dir: {expected}" in plan.warnings
    _, events = opened(settings.build({"dataset": "imagefolder", "data_dir": str(home), "device": "cpu"}))
    assert [event.text for event in events if isinstance(event, Notice) and event.level == "warning"] == [expected]


@pytest.mark.parametrize("split", ["val", ""])
def test_files_beside_the_frames_of_clips_are_counted(split: str, tmp_path: Path, private_homes: Path) -> None:
    home = tiny_clips.draw(tmp_path)
    for place, name in (("real/real0", "5.heic"), ("fake/fake1", "notes.txt"), ("fake/fake1", "5.jpg~")):
        data = encoded(picture(9, 9)) if name.endswith("~") else b"x"
        next((home / "train" / place).rglob("*.*")).parent.joinpath(name).write_bytes(data)
    values = {"dataset": "clips", "data_dir": str(home), "val_split": split, "val_share": 0.0 if split else 0.3}
    _, events = opened(settings.build({**values, "clip_frames": 2, "device": "cpu"}))
    (ready,) = [event for event in events if isinstance(event, DataReady)]
    assert dict(ready.skipped) == {".heic": 1, ".txt": 1, ".jpg~": 1}
    warnings = " ".join(event.text for event in events if isinstance(event, Notice) and event.level == "warning")
    assert "not read: 1 .heic files" in warnings
    assert "not read: 1 .jpg~ files, although they begin as images do" in warnings


def test_kinds_of_files_are_a_bounded_number() -> None:
    """Also where each file has a suffix of its own, as the files of scanners have."""
    skipped = SkippedFiles()
    for number in range(1500):
        skipped.add_file(f"/nowhere/1.2.840.{number}")
        skipped.add_file(f"/nowhere/1.x{number}")
    found = dict(skipped.counts())
    assert len(found) == 1001
    assert sum(found.values()) == 3000
    assert (found[".<number>"], found["of other kinds"], found[".x7"]) == (1500, 501, 1)


@pytest.mark.parametrize("text", [b"BM", b"BMI of patients\n", b"P1", b"P6: notes", b"II*", b"RIFF....WAVE", b""])
def test_texts_that_begin_like_an_image_are_none(text: bytes, tmp_path: Path) -> None:
    for name in ("notes", "notes.1"):
        (tmp_path / name).write_bytes(text)
        assert not image_files.is_image(str(tmp_path / name))
        assert not image_files.begins_as_image(str(tmp_path / name))


def test_a_class_of_unreadable_pictures_names_them(tmp_path: Path) -> None:
    place = folder(tmp_path, classes=1) / "train" / "phone"
    place.mkdir()
    (place / "1.heic").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"phone has no images .*skipped so far: 1 \.heic"):
        scan(str(tmp_path), "train")


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
