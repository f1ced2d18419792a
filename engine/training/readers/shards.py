"""Reader of shards of any format."""

from __future__ import annotations

import numpy as np

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets.bad_image_list import bad_image_limit
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.datasets.shard_formats import parquet_page_cost
from gputrain.engine.datasets.shards import shard_split
from gputrain.engine.datasets.shards.shard_split import ShardSplit
from gputrain.engine.datasets.skipped_files import Skipped
from gputrain.engine.training.readers.reader import OnFound, OpenedDataset
from gputrain.engine.training.tasks.classification import Classification

_NAMED = 5
_LOOKED_AT = 100_000
"""Images whose pages are counted."""


def read(config: RunConfig, on_found: OnFound) -> OpenedDataset:
    """See `Reader`. The splits are folders or patterns of shards in `data_dir`."""
    data = config.data
    train = shard_split.open_split(data, data.train_split, on_found=on_found)
    val = None
    if data.val_split:
        val = shard_split.open_split(
            data,
            data.val_split,
            setting="val_split",
            classes=train.classes,
            named=bool(train.images.label_names),
            on_found=on_found,
        )
    damage = (*train.damage, *(val.damage if val else ()))
    return OpenedDataset(
        image_set_of(train),
        None if val is None else image_set_of(val),
        Classification(len(train.classes), config.optim.label_smoothing),
        warnings=(
            *_damage_warning(damage, config, len(train.images)),
            *_page_warning(train, data.image_key),
            *_overlap_warning(train, val),
        ),
    )


def _overlap_warning(train: ShardSplit, val: ShardSplit | None) -> tuple[str, ...]:
    """A warning if training images are validated on."""
    shared = 0 if val is None else val.images.images_shared_with(train.images)
    if val is None or not shared:
        return ()
    text = (
        f"val_split: {shared:,} of the {len(val.images):,} validation images are trained on, too: their loss and "
        "accuracy say little; name other shards, or parts such as train_split=train[:90%] val_split=train[90%:] of "
        "dataset=hf"
    )
    return (text,)


def _page_warning(split: ShardSplit, image_key: str) -> tuple[str, ...]:
    """A warning for compressed Parquet pages of many images: each image costs its whole page."""
    codecs = {shard["codec"] for shard in split.images.shards} - {""}
    if not codecs:
        return ()
    some = split.images.offsets[:_LOOKED_AT]
    images = len(some) / (1 + np.count_nonzero(some[1:] != some[:-1]))
    cost = None
    if split.images.remote is None:
        packed = next(number for number, shard in enumerate(split.images.shards) if shard["codec"])
        cost = parquet_page_cost.page_cost(split.images.shard_path(packed), image_key)
    text = parquet_page_cost.warning(" and ".join(sorted(codecs)), images, cost)
    return (text,) if text else ()


def image_set_of(split: ShardSplit) -> ImageSet:
    """The ImageSet of a split."""
    return ImageSet(
        root=split.images.root,
        names=b"",
        ends=np.empty(0, dtype=np.int64),
        labels=split.labels,
        classes=split.classes,
        scan_result=Skipped(split.skipped),
        shards=split.images,
    )


def _damage_warning(damage: tuple[str, ...], config: RunConfig, images: int) -> tuple[str, ...]:
    """The warning for damaged shards. Raises BadInput for more damaged places than `max_bad_images`."""
    if not damage:
        return ()
    named = "; ".join(damage[:_NAMED]) + (f" and {len(damage) - _NAMED} more" if len(damage) > _NAMED else "")
    limit = bad_image_limit(config.data.max_bad_images, images)
    if len(damage) > limit:
        raise BadInput(
            f"the shards are damaged in {len(damage)} places, more than max_bad_images ({limit}): {named}. "
            "Copy them anew, or raise max_bad_images to use what is whole"
        )
    return (f"the shards are damaged in {len(damage)} places, what is whole is used: {named}",)
