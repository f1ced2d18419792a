"""Data of the real package `datasets` for tests, made from the class folders that other readers read."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from gputrain.engine.datasets.image_set import scan

SPLITS = (("train", "train"), ("val", "validation"))
"""Splits of folders, and their usual names in `datasets`."""


def package() -> Any:
    """The package, without the warnings of its own dependencies, or a skip."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        datasets = pytest.importorskip("datasets", reason="datasets is not installed (pip install -e '.[dev]')")
    datasets.disable_progress_bars()
    return datasets


def dataset_of(images: Path, split: str, **changes: Any) -> Any:
    """A Dataset of the images in class folders, in their order, with the features Image and ClassLabel."""
    datasets = package()
    found = scan(str(images), split)
    columns = {
        "image": [{"bytes": Path(found.path(at)).read_bytes(), "path": None} for at in range(len(found))],
        "label": found.labels.tolist(),
    }
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(found.classes)), **changes}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def saved(images: Path, to: Path) -> Path:
    """The class folders in ``images/{train,val}`` by `DatasetDict.save_to_disk`, the training images in three files."""
    splits = {name: dataset_of(images, folder) for folder, name in SPLITS}
    shards = {"train": 3, "validation": 1}
    package().DatasetDict(splits).save_to_disk(to, num_shards=shards)
    return to


def cached(images: Path, cache: Path, name: str = "flowers") -> Path:
    """The same as `load_dataset` prepares it in its cache, from Parquet files in a folder `name`; that folder."""
    home = cache.parent / name
    home.mkdir(parents=True, exist_ok=True)
    for folder, split in SPLITS:
        dataset_of(images, folder).to_parquet(home / f"{split}-00000-of-00001.parquet")
    package().load_dataset(str(home), cache_dir=str(cache))
    return home
