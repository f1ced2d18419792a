"""Number of images of each data set, for plans: counted from folders and file names in half a second.

File contents are not read: head poses beyond the limit of 99°, or without a usable annotation, are counted too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gputrain.engine.common.errors import BadInput
from gputrain.engine.datasets import folder_layouts, image_files, label_files
from gputrain.engine.datasets.class_folder_count import COUNT_SECONDS, TimeLimitReached, count_images
from gputrain.engine.estimates.host_memory import DataFacts

DEMO = DataFacts(train_images=2400, val_images=480, short_side=372)
"""The images that the recipe demo draws, as in `datasets.demo.demo_dataset` (its sizes by their frequency)."""
CIFAR_EACH = 3103.56
"""Bytes of an image in CIFAR-10's files: 3,072 of pixels, and its share of labels and names (31,035,526 for 10,000)."""
_PICTURES = (".jpg", ".jpeg", ".png")

Count = Callable[[Mapping[str, Any], float], DataFacts | None]


def count_data(values: Mapping[str, Any], seconds: float = COUNT_SECONDS) -> DataFacts | None:
    """Numbers of the settings' data set; None if counting takes more than `seconds`, or needs the user's code."""
    if values["dataset"] == "demo" and not values["data_dir"]:
        return DEMO
    count = _COUNTS.get(values["dataset"])
    if count is None or not values["data_dir"]:
        return None
    try:
        found = count(values, time.monotonic() + seconds)
    except (BadInput, OSError, TimeLimitReached):
        return None
    return found if found is not None and found.train_images else None


def _classes(values: Mapping[str, Any], deadline: float) -> DataFacts | None:
    train = label_files.labelled_files(values["data_dir"], values["train_split"], "train_split")
    if train is not None:
        if not values["val_split"]:
            return DataFacts(len(train.names), 0)
        val = label_files.labelled_files(values["data_dir"], values["val_split"], "val_split", train.classes)
        return None if val is None else DataFacts(len(train.names), len(val.names))
    seconds = deadline - time.monotonic()
    return count_images(Path(values["data_dir"]), values["train_split"], values["val_split"], seconds)


def _cifar(values: Mapping[str, Any], _deadline: float) -> DataFacts:
    folder = folder_layouts.cifar_folder(values["data_dir"])

    def images(names: tuple[str, ...]) -> int:
        return round(sum((folder / name).stat().st_size for name in names) / CIFAR_EACH)

    train = images(folder_layouts.CIFAR_TRAIN)
    return DataFacts(train, images(folder_layouts.CIFAR_TEST) if values["val_split"] else 0)


def _300wlp(values: Mapping[str, Any], deadline: float) -> DataFacts:
    def faces(folder: Path) -> int:
        count = 0
        for names in _walk(folder, deadline):
            annotated = {Path(name).stem for name in names if name.endswith(".mat")}
            count += sum(Path(name).stem in annotated for name in names if name.lower().endswith(_PICTURES))
        return count

    return _poses(values, faces)


def _biwi(values: Mapping[str, Any], deadline: float) -> DataFacts:
    def faces(folder: Path) -> int:
        names = (name for found in _walk(folder, deadline) for name in found)
        return sum(name.endswith(folder_layouts.BIWI_PICTURE) for name in names)

    return _poses(values, faces)


def _poses(values: Mapping[str, Any], faces: Callable[[Path], int]) -> DataFacts:
    """Head poses: without a folder for validation, a share of the subjects is held out."""
    home = Path(values["data_dir"])
    train = faces(home / values["train_split"])
    if values["val_split"]:
        return DataFacts(train, faces(home / values["val_split"]))
    kept = round(values["val_share"] * train)
    return DataFacts(train - kept, kept)


def _clips(values: Mapping[str, Any], deadline: float) -> DataFacts:
    streams = 0

    def clips(split: str, setting: str) -> int:
        nonlocal streams
        folder, count = folder_layouts.split_folder(values["data_dir"], split, setting), 0
        for name in folder_layouts.clip_classes(folder, setting):
            found = folder_layouts.clips_of(folder / name, setting)
            streams = streams or len(folder_layouts.clip_streams(folder / name / found[0]))
            count += len(found)
            if time.monotonic() > deadline:
                raise TimeLimitReached
        return count

    train = clips(values["train_split"], "train_split")
    val = clips(values["val_split"], "val_split") if values["val_split"] else 0
    if not values["val_split"] and values["val_share"]:
        val = round(values["val_share"] * train)
        train -= val
    group = streams * values["clip_frames"]
    return DataFacts(train * group, val * group, group=group)


def _walk(folder: Path, deadline: float) -> Iterator[list[str]]:
    """The files of `folder` and of each folder in it, without those whose names begin with a dot."""
    for _, folders, files in os.walk(folder):
        if time.monotonic() > deadline:
            raise TimeLimitReached
        folders[:] = [name for name in folders if not image_files.is_ignored(name)]
        yield [name for name in files if not name.startswith(".")]


def _shards(values: Mapping[str, Any], seconds: float) -> DataFacts | None:
    from gputrain.engine.datasets.shards.shard_preview import count_shards  # NumPy: no other data set needs it

    return count_shards(values, seconds)


_COUNTS: Mapping[str, Count] = {
    "demo": _classes,
    "imagefolder": _classes,
    "webdataset": _shards,
    "parquet": _shards,
    "hf": _shards,
    "imagenet": _shards,
    "cifar10": _cifar,
    "300wlp": _300wlp,
    "biwi": _biwi,
    "clips": _clips,
}
