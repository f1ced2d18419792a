"""What a plan says of shards before the run: whether they can be read, how many images they have, and how large."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.remote_urls import is_url
from gputrain.engine.datasets.class_folder_count import TimeLimitReached
from gputrain.engine.datasets.hugging_face.prepared_datasets import NotPrepared
from gputrain.engine.datasets.remote_shards import remote_listing, retries
from gputrain.engine.datasets.shard_formats import parquet_page_cost
from gputrain.engine.datasets.shards import scan_shard, shard_index, shard_patterns, shard_split
from gputrain.engine.datasets.shards.shard_set import ShardSet
from gputrain.engine.datasets.shards.sharded_images import ShardedImages, ShardFault
from gputrain.engine.estimates.host_memory import DataFacts

_T = TypeVar("_T")
_LOOKED_AT = 16
"""Images whose sizes are read."""


_REMEMBERED_SECONDS = 60.0
_SETTINGS = ("data_dir", "dataset", "train_split", "val_split", "image_key", "label_key")
_answers: dict[tuple[object, ...], tuple[float, Any]] = {}
"""What stores said recently: a plan is made anew at each change of a setting."""


def _remembered(what: str, values: Mapping[str, Any], ask: Callable[[], _T]) -> _T:
    """The answer to `ask` about remote shards, or its BadInput or TimeLimitReached, of the last minute."""
    key = (what, *(values.get(name) for name in _SETTINGS))
    until, answer = _answers.get(key, (0.0, None))
    if time.monotonic() >= until:
        try:
            with retries.one_try():
                answer = ask()
        except (BadInput, TimeLimitReached) as error:
            answer = error
        _answers[key] = (time.monotonic() + _REMEMBERED_SECONDS, answer)
    if isinstance(answer, BadInput | TimeLimitReached):
        raise answer
    found: _T = answer
    return found


def remote_layout(data_dir: str, train_split: str) -> str:
    """The value of `dataset` for a URL; webdataset if its folder does not say, and the check will name why."""
    values = {"data_dir": data_dir, "train_split": train_split}
    try:
        found = _remembered("layout", values, lambda: shard_patterns.remote_layout_of(data_dir, train_split))
    except BadInput:
        found = ""
    return found or "webdataset"


def check_shards(values: Mapping[str, Any], _deadline: float) -> None:
    """Raises BadInput if a split has no shards, or the first sample of its first shard no image or label.

    Remote shards are only looked up.
    """
    if is_url(values["data_dir"]):
        _remembered("check", values, lambda: _check_remote(values))
        return
    for setting in ("train_split", "val_split"):
        if not values[setting]:
            continue
        try:
            shards = shard_split.shard_set(SimpleNamespace(**values), values[setting], setting)
        except NotPrepared:
            return  # the run has it prepared
        scan_shard.check_first(shards)


def page_warning(values: Mapping[str, Any]) -> str:
    """A warning of compressed Parquet pages of many images, with what one costs here; empty if there is none."""
    if values["dataset"] != "parquet" or is_url(values["data_dir"]):
        return ""
    try:
        path = _shards(values, "train_split").paths[0]
        cost = parquet_page_cost.page_cost(path, values["image_key"])
    except (BadInput, OSError):
        return ""  # the check names the fault
    return "" if cost is None else parquet_page_cost.warning(cost.codec, cost.images, cost)


def _check_remote(values: Mapping[str, Any]) -> None:
    for setting in ("train_split", "val_split"):
        if values[setting]:
            shards = shard_split.shard_set(SimpleNamespace(**values), values[setting], setting)
            scan_shard.check_first(shards)
            remote_listing.stats_of(shards.paths[:1])


def count_shards(values: Mapping[str, Any], deadline: float) -> DataFacts:
    """The numbers of images, from the index; it is built as far as the time allows, and continued by the run.

    Of remote shards only a complete index counts: a plan downloads none. Raises BadInput, OSError or TimeLimitReached.
    """

    if is_url(values["data_dir"]):
        return _remembered("count", values, lambda: _count(values, deadline))
    return _count(values, deadline)


def _count(values: Mapping[str, Any], deadline: float) -> DataFacts:
    def still_time(_found: int) -> None:
        if time.monotonic() > deadline:
            raise TimeLimitReached

    train = _shards(values, "train_split")
    val = _shards(values, "val_split") if values["val_split"] else None
    if train.listed and train.is_fetched:
        # Their index says the numbers; to look into them, they would have to be fetched.
        size = sum(stat.size for stat in shard_index.shard_stats(train))
        return DataFacts(_listed(train), 0 if val is None else _listed(val), size)
    images = _images(train, "train_split", still_time)
    size = sum(shard["size"] for shard in images.shards)
    val_images = 0 if val is None else len(_images(val, "val_split", still_time))
    return DataFacts(len(images), val_images, size, _short_side(images, deadline))


def _shards(values: Mapping[str, Any], setting: str) -> ShardSet:
    try:
        return shard_split.shard_set(SimpleNamespace(**values), values[setting], setting)
    except NotPrepared:
        raise TimeLimitReached from None


def _listed(shards: ShardSet) -> int:
    return sum(shard.samples for shard in shards.listed)


def _images(shards: ShardSet, setting: str, on_found: Callable[[int], None]) -> ShardedImages:
    if shards.is_remote and shard_index.find_index(shards) is None:
        raise TimeLimitReached
    return shard_split.images_of(shards, setting, on_found)


def _short_side(images: ShardedImages, deadline: float) -> float | None:
    """Mean short side in pixels of the images that can be opened until `deadline`; None if there are none."""
    from PIL import Image  # not for every command that counts

    if images.remote is not None:
        return None
    sides: list[int] = []
    for index in np.linspace(0, len(images) - 1, min(_LOOKED_AT, len(images)), dtype=np.int64).tolist():
        if time.monotonic() > deadline:
            break
        try:
            with Image.open(io.BytesIO(images.read(index))) as image:
                sides.append(min(image.size))
        except (ShardFault, OSError, ValueError, SyntaxError):
            continue  # the run reports bad images
    return sum(sides) / len(sides) if sides else None
