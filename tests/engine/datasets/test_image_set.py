from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from helpers.training.pictures import folder
from torchvision.datasets import ImageFolder

from gputrain.engine.common.errors import BadInput
from gputrain.engine.datasets import image_set
from gputrain.engine.datasets.class_folder_count import count_images
from gputrain.engine.datasets.image_set import scan


def test_the_same_files_and_labels_as_torchvision(tmp_path: Path) -> None:
    folder(tmp_path, per_class=2)
    for name in ("class_1/b/deep/x.PNG", "class_1/a/1.jpeg", "class_1/b/0.webp", "class_0/note.txt", "class_2/ä ö.jpg"):
        path = tmp_path / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = scan(str(tmp_path), "train")
    theirs = ImageFolder(str(tmp_path / "train"))
    assert [(found.path(n), int(found.labels[n])) for n in range(len(found))] == theirs.samples
    assert list(found.classes) == theirs.classes


def test_links_are_followed_once_and_never_upwards(tmp_path: Path) -> None:
    home = folder(tmp_path, classes=1, per_class=2) / "train"
    elsewhere = folder(tmp_path / "elsewhere", classes=1, per_class=1) / "train" / "class_0"
    for link, target in (("up", home), ("self", home / "class_0"), ("first", elsewhere), ("second", elsewhere)):
        (home / "class_0" / link).symlink_to(target)
    (home / "class_0" / "self" / "deep").mkdir()
    (home / "class_0" / "deep" / "up").symlink_to(home / "class_0")
    (home / "again").symlink_to(home)
    (home / "class_0" / "._000.jpg").touch()
    (home / ".ipynb_checkpoints").mkdir()
    os.mkfifo(home / "class_0" / "pipe.jpg")
    found = scan(str(tmp_path), "train")
    names = [found.name(n) for n in range(len(found))]
    assert names == ["class_0/000.jpg", "class_0/001.jpg", "class_0/first/000.jpg"]
    assert found.classes == ("class_0",)
    counted = count_images(tmp_path, "train", "")
    assert counted is not None
    assert counted.train_images == 4  # each link, as it is read by plans: the second one too
    assert dict(found.skipped) == {".jpg": 1, "link to a parent folder": 4, "repeated link": 1}


def test_names_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    home = folder(tmp_path, classes=1, per_class=1) / "train" / "class_0"
    odd = os.fsencode(home) + b"/\xff\xfe.jpg"
    Path(os.fsdecode(odd)).touch()
    found = pickle.loads(pickle.dumps(scan(str(tmp_path), "train")))  # as a worker process gets it
    assert os.fsencode(found.path(1)) == odd


def test_validation_labels_are_those_of_training(tmp_path: Path) -> None:
    folder(tmp_path, classes=3, per_class=1)
    (folder(tmp_path, "val", classes=3, per_class=1) / "val" / "class_1" / "000.jpg").unlink()
    (tmp_path / "val" / "class_1").rmdir()
    train = scan(str(tmp_path), "train")
    found = scan(str(tmp_path), "val", setting="val_split", classes=train.classes)
    assert found.labels.tolist() == [0, 2]
    assert found.classes == train.classes


def test_progress_counts_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_set, "PROGRESS_EVERY", 5)
    seen: list[int] = []
    scan(str(folder(tmp_path, per_class=4)), "train", progress=seen.append)
    assert seen == [5, 10, 12]


def test_an_image_set_of_other_layouts(tmp_path: Path) -> None:
    made = image_set.image_set(tmp_path, ["a/1.jpg", "b.png"], [1, 0], ["x", "y"])
    assert [made.path(n) for n in range(2)] == [f"{tmp_path}/a/1.jpg", f"{tmp_path}/b.png"]
    assert made.labels.tolist() == [1, 0]


def _no_images(home: Path) -> None:
    (home / "train").mkdir(parents=True)


def _empty_class(home: Path) -> None:
    (folder(home, classes=1, per_class=1) / "train" / "dog").mkdir()


def _is_a_file(home: Path) -> None:
    home.write_text("")


def _other_split(home: Path) -> None:
    folder(home, "training", classes=1, per_class=1)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda home: None, r"data_dir: .*data does not exist"),
        (_is_a_file, r"data_dir: .*data is not a folder"),
        (
            _other_split,
            r"train_split: there is no folder 'train' in data_dir .*it has training; did you mean 'training'",
        ),
        (_no_images, r"train_split: .*train has no class folders"),
        (_empty_class, r"train_split: the class folder .*dog has no images .*add some or remove the folder"),
    ],
)
def test_missing_folders_are_named_with_a_remedy(tmp_path: Path, make, says: str) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / "data")
    with pytest.raises(BadInput, match=says):
        scan(str(tmp_path / "data"), "train")


def test_an_unset_data_dir_is_refused() -> None:
    with pytest.raises(BadInput, match="data_dir is not set"):
        scan("", "train")


def test_a_class_that_only_validation_has(tmp_path: Path) -> None:
    folder(tmp_path, "val", classes=2, per_class=1)
    with pytest.raises(BadInput, match=r"val_split: .*class_1 is a class that the training images don't have"):
        scan(str(tmp_path), "val", setting="val_split", classes=["class_0", "klass_2"])
