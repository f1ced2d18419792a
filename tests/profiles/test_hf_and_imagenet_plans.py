"""Plans for data of Hugging Face's `datasets` and for ImageNet's archives: recognized, counted, and refused by name."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import pytest
from helpers.training import hugging_face_data as hub
from helpers.training import imagenet_archives as archives
from helpers.training.training_tools import draw_images

from gputrain.engine.configuration import settings
from gputrain.engine.datasets.image_count import count_data
from gputrain.engine.hardware.machine import Machine, inspect_machine
from gputrain.engine.planning.plan import Plan
from gputrain.profiles.resolve_plan import resolve_plan


@pytest.fixture(scope="module")
def machine() -> Machine:
    return inspect_machine()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("drawn") / "pictures")


@pytest.fixture(scope="module")
def imagenet(pictures: Path) -> Path:
    return archives.write(pictures, pictures.parent / "archives")


def plan(machine: Machine, folder: Path | str | None, recipe: str = "simple-cnn", **own: Any) -> Plan:
    return resolve_plan(machine, recipe=recipe, data_dir=str(folder) if folder else None, overrides=own)


def counted(made: Plan) -> tuple[int, int] | None:
    facts = count_data(settings.flatten(made.config), seconds=30)
    return None if facts is None else (facts.train_images, facts.val_images)


@pytest.mark.parametrize("recipe", ["demo", "simple-cnn"])
def test_a_saved_data_set_is_recognized(machine: Machine, pictures: Path, tmp_path: Path, recipe: str) -> None:
    saved = hub.saved(pictures, tmp_path / "saved")
    made = plan(machine, saved, recipe)
    assert made.config.data.dataset == "hf"
    assert not made.refuses
    assert counted(made) == (36, 18)
    bad = plan(machine, saved, val_split="dev")
    assert any("val_split: there is no split 'dev'" in text for text in bad.refuses)
    bad = plan(machine, saved, image_key="picture")
    assert any("has no column 'picture' of images" in text for text in bad.refuses)


def test_a_name_stays_a_name(machine: Machine, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its data are counted if they are prepared; else the run prepares them, if it can."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    hub.package()
    own = settings.parse_overrides(["dataset=hf:flowers@train,validation"])[0]
    made = plan(machine, None, **own)
    assert not made.refuses
    assert counted(made) is None
    hub.cached(pictures, tmp_path / "cache")
    for made in (plan(machine, None, **own), plan(machine, "hf:flowers")):
        assert (made.config.data.dataset, made.config.data.data_dir) == ("hf", "hf:flowers")
        assert not made.refuses
        assert counted(made) == (36, 18)
    wrong = plan(machine, "hf:flowers", dataset="parquet")
    assert any("hf:flowers is the name of a data set of Hugging Face: set dataset=hf" in text for text in wrong.refuses)

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert any("which would fetch it, is not installed" in text for text in plan(machine, "hf:other").refuses)
    assert not plan(machine, "hf:flowers").refuses, "prepared data need pyarrow alone"


def test_imagenet_is_recognized(machine: Machine, imagenet: Path) -> None:
    made = plan(machine, imagenet, "imagenet-resnet50")
    assert made.config.data.dataset == "imagenet"
    assert not made.refuses
    assert counted(made) == (36, 18)
    row = next(row for row in made.rows if row.setting == "shuffle")
    assert (row.value, row.note) == ("global", "auto: the images of ImageNet's tars are sorted by class")
    sorted_by_class = plan(machine, imagenet, "imagenet-resnet50", shuffle="shards")
    assert sorted_by_class.config.data.shuffle == "global"
    assert any("val_split: " in text for text in plan(machine, imagenet, val_split="nothing").refuses)
    remote = plan(machine, "s3://bucket/imagenet", dataset="imagenet")
    assert any("a URL is read for shards alone" in text for text in remote.refuses)


def test_class_folders_beside_the_archives_are_class_folders(machine: Machine, imagenet: Path, tmp_path: Path) -> None:
    (tmp_path / archives.TRAIN).symlink_to(imagenet / archives.TRAIN)
    (tmp_path / "train" / "n01440764").mkdir(parents=True)
    assert plan(machine, tmp_path).config.data.dataset == "imagefolder"
