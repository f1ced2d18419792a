"""Labels from files: labels.csv in place of class folders, class_to_idx.json for the order of classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.training.training_tools import draw_images, opened, small_config

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.datasets.image_count import count_data
from gputrain.engine.datasets.image_set import ImageSet, scan
from gputrain.engine.datasets.layout_check import missing_data
from gputrain.engine.datasets.output_count import output_count


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return draw_images(tmp_path / "pictures", per_class=4)


def rows_of(images: ImageSet, prefix: str = "") -> str:
    rows = (f"{prefix}{images.name(at)},{images.classes[images.labels[at]]}" for at in range(len(images)))
    return "path,label\n" + "\n".join(rows) + "\n"


def content(images: ImageSet) -> tuple[list[str], list[int], tuple[str, ...]]:
    return [images.path(at) for at in range(len(images))], images.labels.tolist(), images.classes


def test_the_same_data_set_as_from_class_folders(pictures: Path) -> None:
    folders, _ = opened(small_config(pictures))
    assert folders.val is not None
    (pictures / "train" / "labels.csv").write_text(rows_of(folders.train))
    (pictures / "labels.csv").write_text(rows_of(folders.val, "val/").replace("\n", "\r\n"), encoding="utf-8-sig")
    # Nothing of the folders' names is used any more.
    (pictures / "train" / "empty").mkdir()
    listed, _ = opened(small_config(pictures))
    assert listed.val is not None
    assert content(listed.train) == content(folders.train)
    assert content(listed.val) == content(folders.val)
    values = settings.flatten(small_config(pictures))
    assert missing_data(values, 10.0) == ()
    facts = count_data(values)
    assert facts is not None
    assert (facts.train_images, facts.val_images) == (12, 6)
    assert output_count(values) == 3


def test_numbers_are_class_numbers(pictures: Path) -> None:
    (pictures / "train" / "labels.csv").write_text('Path, Label\nacross/0.jpg,10\n\n"down/1.jpg",2\n')
    images = scan(str(pictures), "train")
    assert images.classes == tuple(map(str, range(11)))
    assert images.labels.tolist() == [10, 2]


def test_another_csv_beside_class_folders_is_no_labels_file(pictures: Path) -> None:
    (pictures / "labels.csv").write_text("id,breed\n1,cat\n")
    assert len(scan(str(pictures), "train")) == 12


def test_the_class_index_orders_the_classes(pictures: Path) -> None:
    (pictures / "class_to_idx.json").write_text(json.dumps({"spots": 0, "across": 1, "unused": 2, "down": 3}))
    images = scan(str(pictures), "train")
    assert images.classes == ("spots", "across", "unused", "down")
    assert images.labels.tolist() == [1] * 4 + [3] * 4 + [0] * 4, "the images stay in the order of the folders"
    assert output_count(settings.flatten(small_config(pictures))) == 4
    (pictures / "train" / "labels.csv").write_text("path,label\nacross/0.jpg,down\n")
    listed = scan(str(pictures), "train")
    assert (listed.classes, listed.labels.tolist()) == (images.classes, [3])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\n", "train_split: .*train/labels.csv names no image of 'train'"),
        ("path,label\na.jpg\n", "labels.csv:2: expected two columns, path and label"),
        ("path,label\na.jpg,\n", "labels.csv:2: expected two columns"),
        ("path,label\na.jpg,x\na.jpg,y\n", "labels.csv:3: 'a.jpg' is named twice"),
        ("path,label\n../a.jpg,x\n", r"labels.csv:2: '../a.jpg' is no path below"),
        ("path,label\n/etc/a.jpg,x\n", "labels.csv:2: '/etc/a.jpg' is no path below"),
        ("path,label\na.jpg,99999999999\n", "class 99,999,999,999 is larger than"),
        ("path,label\na.jpg,x\n", "train/a.jpg, the first image in labels.csv, does not exist"),
    ],
)
def test_faults_of_the_labels_are_located(pictures: Path, text: str, message: str) -> None:
    (pictures / "train" / "labels.csv").write_text(text)
    refused = missing_data(settings.flatten(small_config(pictures)), 10.0)
    assert len(refused) == 1
    with pytest.raises(BadInput, match=message):
        raise BadInput(refused[0])


def test_a_class_that_the_training_images_lack_is_located(pictures: Path) -> None:
    (pictures / "val" / "labels.csv").write_text("path,label\nacross/0.jpg,across\ndown/0.jpg,dawn\n")
    with pytest.raises(BadInput, match=r"val/labels.csv:3: 'dawn' is a class that the training .*'down'"):
        opened(small_config(pictures))


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ('{"across": 0, "down": 1}', "class_to_idx.json does not have the class folder 'spots'"),
        ('{"across": 0, "down": 1, "spots": 3}', "class_to_idx.json: the numbers must be 0 to 2, each once"),
        ('["across"]', "class_to_idx.json: expected class names and numbers"),
        ('{"across": true}', "class_to_idx.json: expected class names and numbers"),
        ("{", "class_to_idx.json: cannot be read"),
    ],
)
def test_faults_of_the_class_index_are_located(pictures: Path, index: str, message: str) -> None:
    (pictures / "class_to_idx.json").write_text(index)
    with pytest.raises(BadInput, match=message):
        scan(str(pictures), "train")
