"""Image counts of plans in each layout, compared with the readers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from helpers.training import tiny_clips, tiny_faces

from gputrain.engine.configuration import settings
from gputrain.engine.datasets import folder_layouts
from gputrain.engine.datasets.demo import demo_dataset, demo_images
from gputrain.engine.datasets.image_count import DEMO, count_data
from gputrain.engine.estimates.host_memory import DataFacts
from gputrain.engine.training.readers import biwi, clip_folders, lp300w
from gputrain.engine.training.readers.reader import OpenedDataset, Reader
from gputrain.profiles import catalog


def wanted(recipe: str, folder: Path, **own: Any) -> dict[str, Any]:
    return settings.flatten(settings.build({**catalog.load_recipe(recipe).settings, "data_dir": str(folder), **own}))


def read(reader: Reader, values: dict[str, Any]) -> OpenedDataset:
    return reader(settings.build(values), lambda _count: None)


def test_the_demos_images_are_known() -> None:
    classes = len(demo_images.PATTERNS)
    mean = sum(share * min(size) for share, size in zip(demo_images._SHARES, demo_images._SIZES, strict=True))
    known = DataFacts(
        demo_dataset.COUNTS["train"] * classes, demo_dataset.COUNTS["val"] * classes, short_side=round(mean)
    )
    assert known == DEMO
    assert count_data(settings.flatten(settings.build({}))) == DEMO


@pytest.mark.parametrize("streams", [("high", "low"), ("",)])
def test_clips(tmp_path: Path, streams: tuple[str, ...]) -> None:
    values = wanted("deepfake-convlstm", tiny_clips.draw(tmp_path, streams=streams), clip_frames=3)
    data = read(clip_folders.read, values)
    assert data.val is not None
    facts = count_data(values)
    assert facts == DataFacts(len(data.train), len(data.val), group=data.train.group)
    assert facts.train_images == 10 * 3 * len(streams)


def test_head_poses(tmp_path: Path) -> None:
    values = wanted("headpose-300wlp", tiny_faces.lp300w(tmp_path / "lp"))
    data = read(lp300w.read, values)
    assert data.val is not None
    # One face is turned too far and one annotation is damaged, which no name tells.
    assert count_data(values) == DataFacts(len(data.train) + 2, len(data.val))
    values = wanted("headpose-biwi", tiny_faces.biwi(tmp_path / "biwi"))
    data, facts = read(biwi.read, values), count_data(values)
    assert data.val is not None
    assert facts is not None
    assert facts.train_images + facts.val_images == len(data.train) + len(data.val) == 16
    assert facts.val_images == round(0.3 * 16)


def test_cifar_is_counted_by_the_size_of_its_files(tmp_path: Path) -> None:
    folder = tmp_path / folder_layouts.CIFAR
    folder.mkdir()
    (folder / folder_layouts.CIFAR_META).touch()
    # The sizes of the original files, sparse here.
    sizes = (31_035_704, 31_035_320, 31_035_999, 31_035_696, 31_035_623, 31_035_526)
    for name, size in zip((*folder_layouts.CIFAR_TRAIN, *folder_layouts.CIFAR_TEST), sizes, strict=True):
        (folder / name).touch()
        os.truncate(folder / name, size)
    assert count_data(wanted("cifar10", tmp_path)) == DataFacts(50_000, 10_000)
    assert count_data(wanted("cifar10", tmp_path, val_split="")) == DataFacts(50_000)


@pytest.mark.parametrize("recipe", ["cifar10", "headpose-300wlp", "headpose-biwi", "deepfake-convlstm", "custom"])
def test_missing_data_is_not_counted(tmp_path: Path, recipe: str) -> None:
    assert count_data(wanted(recipe, tmp_path)) is None
    assert count_data(wanted(recipe, tmp_path / "none")) is None


def test_counting_stops_at_the_time_limit(tmp_path: Path) -> None:
    for recipe, folder in (
        ("deepfake-convlstm", tiny_clips.draw(tmp_path / "clips")),
        ("headpose-300wlp", tiny_faces.lp300w(tmp_path / "lp")),
        ("headpose-biwi", tiny_faces.biwi(tmp_path / "biwi", sequences=1, frames=1)),
    ):
        assert count_data(wanted(recipe, folder), seconds=-1.0) is None
        assert count_data(wanted(recipe, folder)) is not None
