"""Scans one shard, of any format; and looks at the first sample of a split for plans."""

from __future__ import annotations

from collections.abc import Callable

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.folder_layouts import shown
from gputrain.engine.datasets.record_files.chunk_samples import scan_chunk
from gputrain.engine.datasets.record_files.listed_shards import chosen_fields
from gputrain.engine.datasets.record_files.tfrecord_samples import scan_tfrecord
from gputrain.engine.datasets.shard_formats import arrow_rows, imagenet_tars, parquet_rows, tar_samples
from gputrain.engine.datasets.shard_formats.shard_scan import ShardScan
from gputrain.engine.datasets.shards.shard_set import ShardSet


def scan_shard(shards: ShardSet, number: int, path: str, on_found: Callable[[int], None]) -> ShardScan:
    """The scan of a shard whose content is in `path`. Raises BadInput, and InterruptedError of `on_found`."""
    name = shown(shards.paths[number])
    try:
        found = _scan(shards, number, path, name, on_found)
    except InterruptedError:
        raise
    except OSError as error:
        raise BadInput(f"{shown(path)}: cannot be read: {error.strerror or error}") from None
    if found.numbered and found.names:
        raise BadInput(
            f"{name} has class numbers and class names ('{plain(found.names[0], 60)}'); write one of them for all "
            "samples"
        )
    return found


def _scan(shards: ShardSet, number: int, path: str, name: str, on_found: Callable[[int], None]) -> ShardScan:
    keys = (shards.image_key, shards.label_key)
    if shards.listed:
        return ShardScan().take(scan_chunk(path, name, shards.listed[number], *keys, on_found))
    if shards.dataset == "tfrecord":
        return ShardScan().take(scan_tfrecord(path, name, *keys, on_found))
    if shards.dataset == "imagenet":
        return imagenet_tars.scan_imagenet(path, shards.labels_file, on_found)
    if shards.dataset == "hf":
        return arrow_rows.scan_arrow(path, *keys, on_found)
    if shards.dataset == "parquet":
        return parquet_rows.scan_parquet(path, *keys, on_found)
    return tar_samples.scan_tar(path, *keys, on_found)


def check_first(shards: ShardSet) -> None:
    """Raises BadInput if the first sample of the first shard has no image or label; a remote shard is not read."""
    path, keys = shards.paths[0], (shards.image_key, shards.label_key)
    name = shown(path)
    try:
        if shards.listed:
            chosen_fields(name, shards.listed[0].fields, *keys)
            if not shards.is_fetched:
                next(scan_chunk(path, name, shards.listed[0], *keys, _no_progress), None)
        elif shards.is_remote:
            return
        elif shards.dataset == "tfrecord":
            next(scan_tfrecord(path, name, *keys, _no_progress), None)
        elif shards.dataset == "imagenet":
            return  # `imagenet_tars.archive_of` looked into it
        elif shards.dataset == "hf":
            arrow_rows.check_columns(path, *keys)
        elif shards.dataset == "parquet":
            parquet_rows.check_columns(path, *keys)
        else:
            tar_samples.scan_tar(path, *keys, _no_progress, limit=1)
    except OSError as error:
        raise BadInput(f"{name}: cannot be read: {error.strerror or error}") from None


def _no_progress(_found: int) -> None:
    pass
