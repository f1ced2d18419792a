"""Plans for shards: the layout that the folder has, the order that its storage suits, and faults before the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.training.shards import parquet, samples, tar

from gputrain.engine.check import storage_check
from gputrain.engine.configuration import settings
from gputrain.engine.datasets.image_count import count_data
from gputrain.engine.hardware.machine import Machine, inspect_machine
from gputrain.engine.planning.plan import Plan
from gputrain.profiles.resolve_plan import resolve_plan


@pytest.fixture(scope="module")
def machine() -> Machine:
    return inspect_machine()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    tar(tmp_path / "train-0.tar", samples(6))
    tar(tmp_path / "train-1.tar", samples(4, 6))
    tar(tmp_path / "val-0.tar", samples(3))
    return tmp_path


def plan(machine: Machine, folder: Path, recipe: str = "simple-cnn", **own: Any) -> Plan:
    return resolve_plan(machine, recipe=recipe, data_dir=str(folder), overrides=own)


@pytest.mark.parametrize("recipe", ["demo", "simple-cnn"])
def test_a_folder_of_shards_is_recognized(machine: Machine, shards: Path, recipe: str) -> None:
    made = plan(machine, shards, recipe)
    assert made.config.data.dataset == "webdataset"
    assert not made.refuses
    facts = count_data(settings.flatten(made.config))
    assert facts is not None
    assert (facts.train_images, facts.val_images) == (10, 3)


def test_class_folders_beside_an_archive_are_class_folders(machine: Machine, shards: Path) -> None:
    (shards / "train" / "cat").mkdir(parents=True)
    assert plan(machine, shards).config.data.dataset == "imagefolder"


def test_parquet_is_recognized(machine: Machine, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install -e '.[dev]')")
    (tmp_path / "data").mkdir()
    for split in ("train", "val"):
        parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet", [(b"x", 0), (b"y", 1)])
    made = plan(machine, tmp_path)
    assert made.config.data.dataset == "parquet"
    assert not made.refuses
    facts = count_data(settings.flatten(made.config))
    assert facts is not None
    assert facts.train_images == 2


@pytest.mark.parametrize(("codec", "rows", "warned"), [("snappy", 50, True), ("snappy", 2, False), ("none", 50, False)])
def test_large_compressed_pages_are_warned_of_with_their_cost(
    machine: Machine, tmp_path: Path, codec: str, rows: int, warned: bool
) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install -e '.[dev]')")
    images: list[tuple[bytes | None, int | None]] = [(b"%d" % number * 50_000, 0) for number in range(50)]
    for split in ("train", "val"):
        parquet(tmp_path / f"{split}-00000-of-00001.parquet", images, compression=codec, row_group_size=rows)
    warnings = [text for text in plan(machine, tmp_path).warnings if "compressed with" in text]
    assert len(warnings) == warned
    if warned:
        assert "SNAPPY in pages of 50 images" in warnings[0]
        assert " MiB, " in warnings[0]
        assert " ms of CPU an image here" in warnings[0]
        assert not [text for text in plan(machine, tmp_path, cache="disk").warnings if "compressed with" in text]


@pytest.mark.parametrize(("kind", "order"), [("hdd", "shards"), ("network", "shards"), ("nvme", "global")])
def test_the_order_suits_the_storage(
    machine: Machine, shards: Path, monkeypatch: pytest.MonkeyPatch, kind: str, order: str
) -> None:
    monkeypatch.setattr(storage_check, "kind_of", lambda place: kind)
    made = plan(machine, shards)
    assert made.config.data.shuffle == order
    assert plan(machine, shards, shuffle="global").config.data.shuffle == "global"
    assert any(kind in row.note for row in made.rows if row.setting == "shuffle")


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"train_split": "part-*.tar"}, "train_split: no tar matches part-*.tar in data_dir"),
        ({"val_split": "test"}, "val_split: no tar matches test in data_dir"),
        ({"label_key": "json.label"}, "train-0.tar: the sample '000000' has no json.label (it has jpg, cls)"),
        ({"dataset": "parquet"}, "train_split: no parquet matches train in data_dir"),
    ],
)
def test_faults_are_found_before_the_start(machine: Machine, shards: Path, own: dict[str, str], message: str) -> None:
    refuses = plan(machine, shards, **{"dataset": "webdataset", **own}).refuses
    assert len(refuses) == 1
    assert message in refuses[0]


def test_shuffle_of_folders_has_no_shards(machine: Machine) -> None:
    made = resolve_plan(machine, recipe="demo", overrides={"shuffle": "shards"})
    assert made.config.data.shuffle == "global"
    assert any("shuffle: shards has no effect" in text for text in made.warnings)
