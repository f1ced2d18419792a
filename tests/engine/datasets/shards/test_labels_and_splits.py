"""Labels and images of shards are never those of others: mixed labels, other numbers, and splits of the same names."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
from helpers.training import record_files
from helpers.training.shards import data, parquet, samples, tar
from helpers.training.training_tools import collecting, opened, small_config

from gputrain.engine.common.errors import BadInput
from gputrain.engine.datasets.shards import shard_split
from gputrain.engine.datasets.shards.shard_patterns import shards_of
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.training.inference import input_images


def labelled(path: Path, labels: list[str], suffix: str = "cls") -> Path:
    files = [
        (f"{number}.{kind}", label.encode() if kind == suffix else f"image {number} of {path}".encode())
        for number, label in enumerate(labels)
        for kind in ("jpg", suffix)
    ]
    return tar(path, files)


@pytest.mark.parametrize(
    ("suffix", "labels"),
    [("cls", ["rose", "0"]), ("cls", ["2024", "rose"]), ("json", ['{"label": "rose"}', '{"label": 0}'])],
)
def test_names_and_numbers_in_one_shard_are_refused(tmp_path: Path, suffix: str, labels: list[str]) -> None:
    labelled(tmp_path / "train.tar", labels, suffix)
    with pytest.raises(BadInput, match=r"train.tar has class numbers and class names \('rose'\); write one of them"):
        shard_split.open_split(data(tmp_path), "train")


def test_names_and_numbers_in_one_tfrecord_file_are_refused(tmp_path: Path) -> None:
    """Records without the number have the name in its place."""
    records: list[record_files.Sample] = [
        {"image/encoded": b"a", "image/class/label": 0},
        {"image/encoded": b"b", "image/class/text": "rose"},
    ]
    record_files.tfrecord(tmp_path / "train.tfrecord", [record_files.example(each) for each in records])
    with pytest.raises(BadInput, match=r"train.tfrecord has class numbers and class names"):
        shard_split.open_split(data(tmp_path, "tfrecord"), "train")


def test_long_names_are_not_cut(tmp_path: Path) -> None:
    """Two captions with one beginning are no class."""
    labelled(tmp_path / "train.tar", [f'{{"label": "{"x" * 200}{end}"}}' for end in "ab"], "json")
    with pytest.raises(BadInput, match=r"the sample '0' has a text of 201 characters as the class in its json file"):
        shard_split.open_split(data(tmp_path), "train")


def test_numbers_do_not_validate_names(tmp_path: Path) -> None:
    """Which class the number 0 is, nothing says: the names of the training images are sorted."""
    labelled(tmp_path / "train.tar", ["zebra", "ant"])
    labelled(tmp_path / "val.tar", ["0", "1"])
    with pytest.raises(BadInput, match=r"val_split: the shards in .* have class numbers, and the training images"):
        opened(small_config(tmp_path, dataset="webdataset"))
    (tmp_path / "classes.txt").write_text("zebra\nant\n")
    with pytest.raises(BadInput, match=r"val_split: the shards in .* name other classes than the training images"):
        opened(small_config(tmp_path, dataset="webdataset"))
    (tmp_path / "classes.txt").write_text("ant\nzebra\n")
    found, _ = opened(small_config(tmp_path, dataset="webdataset"))
    assert found.val is not None
    assert [found.val.classes[label] for label in found.val.labels] == ["ant", "zebra"]


def test_splits_whose_names_have_another_order(tmp_path: Path) -> None:
    """Each folder of shards may have its own classes.txt."""
    for split, names in (("train", "ant\nzebra\n"), ("val", "zebra\nant\n")):
        labelled(tmp_path / split / "0.tar", ["0", "1"])
        (tmp_path / split / "classes.txt").write_text(names)
    with pytest.raises(BadInput, match=r"val_split: the shards in .* name other classes than the training images"):
        opened(small_config(tmp_path, dataset="webdataset"))


def test_numbers_that_are_predicted_are_said_to_be_taken_as_the_runs(tmp_path: Path) -> None:
    labelled(tmp_path / "some.tar", ["0", "1"])
    for classes, expected in ((("ant", "zebra"), 1), (("0", "1"), 0)):
        outbox = multiprocessing.get_context("spawn").Queue()
        with collecting(outbox) as events:
            input_images.images_at(tmp_path / "some.tar", small_config(tmp_path), classes, EventReporter(outbox))
        said = [event for event in events if "its labels are numbers without names" in getattr(event, "text", "")]
        assert len(said) == expected


def test_shards_of_the_same_name_size_and_time(tmp_path: Path) -> None:
    """As programs that unpack archives leave them: tar files have sizes of 10 KiB, and times of whole seconds."""
    for split, labels in (("train", ["1", "0"]), ("val", ["0", "1"])):
        path = labelled(tmp_path / split / "0.tar", labels)
        os.utime(path, (1e9, 1e9))
    assert len({(tmp_path / split / "0.tar").stat().st_size for split in ("train", "val")}) == 1
    found = [shard_split.open_split(data(tmp_path), split) for split in ("train", "val")]
    assert [split.labels.tolist() for split in found] == [[1, 0], [0, 1]]
    assert found[0].images.key != found[1].images.key


def test_a_shard_that_is_replaced_with_the_same_size_and_time(tmp_path: Path) -> None:
    """As `cp -p` and programs that unpack archives replace it: the first or the last shard of a split."""
    for labels in (["1", "0"], ["0", "1"]):
        os.utime(labelled(tmp_path / "train.tar", labels), (1e9, 1e9))
        assert shard_split.open_split(data(tmp_path), "train").labels.tolist() == [int(label) for label in labels]


@pytest.mark.parametrize("name", ["train-{}-of-{}.parquet", "data/train-{}-of-{}.parquet"])
def test_shards_of_an_earlier_writing_do_not_count_twice(tmp_path: Path, name: str) -> None:
    for number, count in ((0, 1), (0, 2), (1, 2)):
        path = tmp_path / name.format(f"{number:05d}", f"{count:05d}")
        path.parent.mkdir(exist_ok=True)
        parquet(path, [(b"x", 0)], ["a"])
    remedy = name.format("*", "00001")
    with pytest.raises(BadInput, match=r"00000-of-00001.* is of 1 shards, and .*-of-00002.* of 2") as raised:
        shards_of(str(tmp_path), "train", "parquet")
    assert str(raised.value).endswith(f"train_split='{remedy}'")
    assert len(shards_of(str(tmp_path), remedy, "parquet")) == 1
    (tmp_path / name.format("00000", "00001")).unlink()
    assert len(shards_of(str(tmp_path), "train", "parquet")) == 2
    (tmp_path / name.format("00000", "00002")).unlink()
    with pytest.raises(BadInput, match=r"1 of the 2 shards of .* are there; copy the others, or use these") as raised:
        shards_of(str(tmp_path), "train", "parquet")
    assert str(raised.value).endswith(f"train_split='{name.format('*', '00002')}'")
    assert len(shards_of(str(tmp_path), name.format("*", "00002"), "parquet")) == 1


def test_validation_on_training_images_is_warned_of(tmp_path: Path) -> None:
    for number in range(3):
        tar(tmp_path / f"{number}.tar", samples(5, 5 * number))
    both = {"train_split": "{0,1}.tar", "val_split": "{1,2}.tar"}
    found, _ = opened(small_config(tmp_path, dataset="webdataset", **both))
    assert [text for text in found.warnings if "5 of the 10 validation images are trained on" in text]
    apart = both | {"val_split": "2.tar"}
    found, _ = opened(small_config(tmp_path, dataset="webdataset", **apart))
    assert not [text for text in found.warnings if "trained on" in text]
