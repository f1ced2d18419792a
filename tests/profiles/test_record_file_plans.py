"""Plans for MDS, LitData and TFRecord: recognized by index or names, counted, and refused before the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.training.record_files import Sample, example, litdata, mds, tfrecord

from gputrain.engine.configuration import settings
from gputrain.engine.datasets.image_count import count_data
from gputrain.engine.hardware.machine import Machine, inspect_machine
from gputrain.engine.planning.plan import Plan
from gputrain.profiles.resolve_plan import resolve_plan

COLUMNS = {"image": "jpeg", "label": "int"}


@pytest.fixture(scope="module")
def machine() -> Machine:
    return inspect_machine()


def plan(machine: Machine, folder: Path, **own: Any) -> Plan:
    return resolve_plan(machine, recipe="simple-cnn", data_dir=str(folder), overrides=own)


def samples(count: int) -> list[Sample]:
    return [{"image": b"image %d" % number, "label": number % 2} for number in range(count)]


def write(folder: Path, layout: str) -> None:
    for split, count in (("train", 9), ("val", 3)):
        if layout == "tfrecord":
            records = [example({"image/encoded": one["image"], "image/class/label": 1}) for one in samples(count)]
            tfrecord(folder / f"{split}-00000-of-00001", records)
        elif layout == "litdata":
            litdata(folder / split, samples(count), ["jpeg", "int"])
        else:
            mds(folder / split, samples(count), COLUMNS, compression=layout.partition("-")[2])


@pytest.mark.parametrize("layout", ["mds", "mds-gz", "litdata", "tfrecord"])
def test_a_folder_is_recognized(machine: Machine, tmp_path: Path, layout: str) -> None:
    write(tmp_path, layout)
    made = plan(machine, tmp_path)
    assert made.config.data.dataset == layout.partition("-")[0]
    assert not made.refuses
    facts = count_data(settings.flatten(made.config))
    assert facts is not None
    assert (facts.train_images, facts.val_images) == (9, 3)
    order = next(row for row in made.rows if row.setting == "shuffle")
    assert ("unpacked one after the other" in order.note) == (layout == "mds-gz")
    if layout == "mds-gz":
        assert made.config.data.shuffle == "shards"
        assert plan(machine, tmp_path, shuffle="global").config.data.shuffle == "global"


@pytest.mark.parametrize(
    ("layout", "own", "message"),
    [
        ("mds", {"val_split": "test"}, "test has no index.json; these folders have one: train, val; val_split names"),
        ("mds-gz", {"image_key": "picture"}, "has no field 'picture'; it has image (jpeg), label (int); image_key"),
        ("litdata", {"label_key": "cls"}, "has no field 'cls'; it has image (jpeg), label (int); label_key"),
        ("litdata", {"dataset": "mds"}, "is no index of MDS shards"),
        ("tfrecord", {"label_key": "image/class/text"}, "record 0 has no single class (an integer or a text) in image"),
    ],
)
def test_faults_are_found_before_the_start(
    machine: Machine, tmp_path: Path, layout: str, own: dict[str, str], message: str
) -> None:
    write(tmp_path, layout)
    refuses = plan(machine, tmp_path, **own).refuses
    assert len(refuses) == 1
    assert message in refuses[0]
