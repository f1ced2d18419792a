"""Preflight checks find what would end a run in its first seconds, and pass everything else."""

from __future__ import annotations

import importlib.util
import itertools
import time
from pathlib import Path
from typing import Any

import pytest
from torchvision import models

from gputrain.engine.configuration import settings
from gputrain.engine.datasets import layout_check
from gputrain.engine.model_catalog import torchvision_models
from gputrain.engine.planning.preflight import preflight_problems

LAYOUTS: list[tuple[str, list[str], str]] = [
    # data set, files, part of the message ("": none)
    ("imagefolder", ["train/a/1.jpg", "val/a/2.PNG"], ""),
    ("imagefolder", ["train/a/deep/1.jpg", "train/b/1.gif", "val/a/2.jpg"], ""),
    ("imagefolder", ["train/", "val/"], "train has no class folders"),
    ("imagefolder", ["train/a/1.jpg", "val/"], "val has no class folders"),
    ("imagefolder", ["train/a/1.jpg"], "val_split: there is no folder 'val'"),
    ("imagefolder", ["train/a/1.jpg", "train/b/notes.txt", "val/a/1.jpg"], "b has no images"),
    ("imagefolder", ["train/a/1.jpg", "val/b/1.jpg"], "is a class that the training images don't have"),
    ("imagefolder", ["train/a/.hidden.jpg", "val/a/1.jpg"], "a has no images"),
    ("cifar10", ["train/a/1.jpg"], "has no cifar-10-batches-py with batches.meta"),
    ("cifar10", ["cifar-10-batches-py/batches.meta", "cifar-10-batches-py/data_batch_1"], "data_batch_2 is missing"),
    ("cifar10", ["batches.meta", *(f"data_batch_{n}" for n in range(1, 6)), "test_batch"], ""),
    ("300wlp", ["train/AFW/1.jpg", "train/AFW/1.mat", "val/2.jpg", "val/2.mat"], ""),
    ("300wlp", ["train/AFW/1.jpg", "val/2.jpg", "val/2.mat"], "train has no picture with its annotation"),
    (
        "300wlp",
        ["train/a/1.jpg", "train/a/2.mat", "val/2.jpg", "val/2.mat"],
        "train has no picture with its annotation",
    ),
    ("biwi", ["train/01/frame_00003_rgb.png", "val/02/frame_1_rgb.png"], ""),
    ("biwi", ["train/01/1.png", "val/02/frame_1_rgb.png"], "train: has no sequences of BIWI"),
    ("clips", [f"{split}/{kind}/7/1.jpg" for split in ("train", "val") for kind in ("real", "fake")], ""),
    ("clips", ["train/a/1.jpg", "val/a/1.jpg"], "has 1 class folders, where two are needed"),
    ("clips", ["train/a/1.jpg", "train/b/1.jpg", "val/a/"], "has no folders of clips"),
    ("clips", ["train/a/7/notes", "train/b/7/1.jpg", "val/a/7/1.jpg"], "7 has no frames"),
    ("clips", ["train/a/7/high/1.jpg", "train/a/7/low/", "train/b/7/1.jpg", "val/a/"], "7 has no frames"),
    ("demo", ["nothing/here"], "there is no folder 'train'"),
]


def said(**values: Any) -> str:
    return "; ".join(preflight_problems(settings.flatten(settings.build(values))))


def write(home: Path, files: list[str]) -> str:
    for file in files:
        path = home / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if file.endswith("/") else path.touch()
    return str(home)


@pytest.mark.parametrize(("dataset", "files", "words"), LAYOUTS)
def test_layout_of_the_data_folder_is_checked(dataset: str, files: list[str], words: str, tmp_path: Path) -> None:
    found = said(dataset=dataset, data_dir=write(tmp_path, files))
    assert words in found
    assert bool(words) == bool(found)


def test_layout_check_gives_up_on_a_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = settings.flatten(settings.build({"dataset": "imagefolder", "data_dir": write(tmp_path, ["train/a/no"])}))
    assert layout_check.missing_data({**values, "val_split": ""})
    clock = itertools.count(time.monotonic())
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    assert layout_check.missing_data({**values, "val_split": ""}) == ()


def test_without_val_split_only_training_images_are_checked(tmp_path: Path) -> None:
    assert said(dataset="imagefolder", val_split="", data_dir=write(tmp_path, ["train/a/1.jpg"])) == ""


def test_model_and_weight_names_match_torchvision() -> None:
    known = models.list_models(module=models)
    for name in known:
        members = models.get_model_weights(name)
        assert torchvision_models.why_no_model(name) == ""
        for weights in members.__members__:
            assert torchvision_models.why_no_weights(name, weights) == ""
            assert torchvision_models.why_no_weights(name, f"{members.__name__}.{weights}") == ""
        assert torchvision_models.why_no_weights(name, "IMAGENET22K")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": "resnet51"}, "there is no 'resnet51'; did you mean 'resnet50'?"),
        ({"model": "timm/foo"}, "needs timm, which is not installed"),
        (
            {"model": "resnet50", "weights": "/nope.pth"},
            "no file '/nope.pth', and resnet50 has no weights of that name",
        ),
        ({"model": "resnet50", "weights": "IMAGENET1K_V3"}, "did you mean 'IMAGENET1K_V2'"),
        ({"model": "simple_cnn", "weights": "DEFAULT"}, "simple_cnn has no weights by name"),
        ({"model": "resnet50", "weights": "/nope.pth", "resume_from": "/some"}, ""),
        ({"dataset": "custom"}, "custom is not set"),
        ({"dataset": "custom", "custom": "mine"}, "not written as package.module:function"),
        ({"dataset": "custom", "custom": "nope:make"}, "there is no module 'nope'"),
        ({"dataset": "custom", "custom": "mine:make"}, ""),
        ({"dataset": "custom", "custom": "mine:mak"}, "mine:mak does not exist; did you mean 'make'?"),
        ({"dataset": "custom", "custom": "mine:later"}, ""),
        ({"dataset": "custom", "custom": "stars:anything"}, ""),
        ({"dataset": "custom", "custom": "pack.inner:make"}, ""),
        ({"dataset": "custom", "custom": "broken:make"}, "failed at broken.py:1: SyntaxError"),
        ({"dataset": "custom", "custom": "queue:Queue"}, ""),
        ({"dataset": "custom", "custom": "msgspec:json"}, ""),
        ({"model": "mine:net"}, "model: mine:net does not exist"),
        ({"model": "mine:make", "weights": "DEFAULT"}, "mine:make has no weights by name"),
    ],
)
def test_unknown_names_are_reported(
    values: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if values.get("model") == "timm/foo":
        monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    (tmp_path / "mine.py").write_text("def make(folder): ...\nif True:\n    later = make\n")
    (tmp_path / "stars.py").write_text("from os import *\n")
    (tmp_path / "broken.py").write_text("def make(:\n")
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "inner.py").write_text("from mine import make\n")
    found = said(code_dir=str(tmp_path), **values)
    assert words in found
    assert bool(words) == bool(found)
