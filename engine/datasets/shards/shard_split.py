"""Opens a split of shards: index, classes, and labels as the classes number them. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gputrain.engine.common.errors import BadInput, did_you_mean
from gputrain.engine.common.remote_urls import is_url, local_folder
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import GIB
from gputrain.engine.datasets.folder_layouts import shown
from gputrain.engine.datasets.hugging_face import arrow_splits, row_ranges
from gputrain.engine.datasets.hugging_face.prepared_datasets import OnWait
from gputrain.engine.datasets.record_files.split_index import LISTED, listed_shards
from gputrain.engine.datasets.remote_shards import remote_listing
from gputrain.engine.datasets.shard_formats import imagenet_tars
from gputrain.engine.datasets.shard_formats.tar_samples import AUTO
from gputrain.engine.datasets.shards import shard_index
from gputrain.engine.datasets.shards.shard_index import OnFound
from gputrain.engine.datasets.shards.shard_patterns import shards_of
from gputrain.engine.datasets.shards.shard_set import ShardSet
from gputrain.engine.datasets.shards.sharded_images import ShardedImages

CLASSES = "classes.txt"
"""File beside tar shards with the names of their classes, a line each, in the order of the numbers."""

Labels = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class ShardSplit:
    """A split."""

    images: ShardedImages
    labels: Labels
    classes: tuple[str, ...]
    damage: tuple[str, ...]
    """Shard and reason of each damaged place."""
    skipped: tuple[tuple[str, int], ...]
    """Samples and files that are no labelled images, by kind."""


def shard_set(data: Any, split: str, setting: str, on_wait: OnWait | None = None) -> ShardSet:
    """The shards of a split under the section `data` of the settings.

    With `on_wait`, a data set of Hugging Face that is not on this machine is prepared; without, NotPrepared is raised.
    Raises BadInput.
    """
    if data.dataset == "hf":
        name, rows = row_ranges.split_and_rows(split, setting)
        files = arrow_splits.arrow_files(data.data_dir, name, setting, on_wait)
        return ShardSet("hf", files, data.image_key, data.label_key, rows=rows)
    if data.dataset == "imagenet":
        archive = imagenet_tars.archive_of(data.data_dir, split, setting)
        return ShardSet("imagenet", (archive.path,), AUTO, AUTO, labels_file=archive.labels)
    limit = int(data.remote_cache_gib * GIB)
    if data.dataset in LISTED:
        listed = tuple(listed_shards(data.data_dir, split, data.dataset, setting))
        paths = tuple(shard.path for shard in listed)
        return ShardSet(data.dataset, paths, data.image_key, data.label_key, limit, listed)
    paths = tuple(shards_of(data.data_dir, split, data.dataset, setting))
    return ShardSet(data.dataset, paths, data.image_key, data.label_key, limit)


def images_of(shards: ShardSet, setting: str, on_found: OnFound) -> ShardedImages:
    """The images of the shards; the index is built if there is none. Raises BadInput, and what `on_found` raises."""
    folder = shard_index.ensure_index(shards, on_found)
    try:
        return ShardedImages(folder, shards.root, shards.cache_bytes, shards.rows)
    except BadInput as error:
        raise BadInput(f"{setting}: {error}") from None


def open_split(
    data: Any,
    split: str,
    *,
    setting: str = "train_split",
    classes: Sequence[str] | None = None,
    named: bool = False,
    on_found: OnFound = lambda found: None,
) -> ShardSplit:
    """The images of a split; the index is built if there is none.

    `classes` are those of the training split; `named`: whether these are its labels, and not names of numbers. Raises
    BadInput with the setting, the shard and the remedy, and what
    `on_found` raises.
    """
    shards = shard_set(data, split, setting, on_found)
    images = images_of(shards, setting, on_found)
    damage = tuple(f"{plain(one['name'], 200)}: {why}" for one in images.shards for why in one["damage"])
    if not len(images):
        first = f"; {damage[0]}" if damage else f" (image_key={plain(data.image_key, 60)})"
        raise BadInput(f"{setting}: the shards in {shown(shards.root)} have no images{first}")
    on_found(len(images))
    found, labels = _classes(images, data.data_dir, shards.root, setting, classes)
    if named and not (images.label_names or images.schema_classes or _names_beside(data.data_dir, shards.root)):
        raise BadInput(
            f"{setting}: the shards in {shown(shards.root)} have class numbers, and the training images class names, "
            f"whose order is another matter; write names, or a {CLASSES} beside the shards with the names of the "
            "training images in alphabetical order"
        )
    skipped: dict[str, int] = {}
    for one in images.shards:
        for kind, count in one["skipped"].items():
            skipped[kind] = skipped.get(kind, 0) + count
    return ShardSplit(images, labels, found, damage, tuple(sorted(skipped.items())))


def _classes(
    images: ShardedImages, data_dir: str, root: str, setting: str, known: Sequence[str] | None
) -> tuple[tuple[str, ...], Labels]:
    if images.label_names:
        if known is None or list(known) == images.label_names:
            return tuple(images.label_names), images.labels
        code = {name: number for number, name in enumerate(known)}
        for name in images.label_names:
            if name not in code:
                raise BadInput(
                    f"{setting}: the shards in {shown(root)} have the class '{plain(name, 100)}', which the training "
                    f"images don't have{did_you_mean(name, known)}"
                )
        table = np.array([code[name] for name in images.label_names], dtype=np.int32)
        return tuple(known), table[images.labels]
    highest = int(images.labels.max())
    named = images.schema_classes or _names_beside(data_dir, root)
    if known is not None:
        if named and list(known) != named:
            raise BadInput(f"{setting}: the shards in {shown(root)} name other classes than the training images")
        if highest >= len(known):
            raise BadInput(
                f"{setting}: the shards in {shown(root)} have class {highest}; the training images have classes 0 to "
                f"{len(known) - 1}"
            )
        return tuple(known), images.labels
    if named and highest >= len(named):
        raise BadInput(f"{setting}: the shards in {shown(root)} have class {highest}, but only {len(named)} names")
    return tuple(named or map(str, range(highest + 1))), images.labels


def _names_beside(data_dir: str, root: str) -> list[str]:
    """The names in `CLASSES` beside the shards or in the data folder; empty if there is none. Raises BadInput."""
    remote = is_url(root)
    for folder in dict.fromkeys((root, data_dir if remote else os.fspath(local_folder(data_dir).expanduser()))):
        path = f"{folder}/{CLASSES}"
        try:
            content = remote_listing.content_of(path) if remote else Path(path).read_bytes()
            if content is None:
                continue
            names = content.decode("utf-8").splitlines()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeError) as error:
            raise BadInput(f"{shown(path)}: cannot be read: {error}") from None
        if not all(names) or len(set(names)) != len(names):
            raise BadInput(f"{shown(path)}: a name for each class is expected, each on a line of its own, none twice")
        return names
    return []
