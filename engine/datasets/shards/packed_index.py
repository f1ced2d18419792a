"""The index of a shard in a file beside it, which `pack` writes: such remote shards need no download to be indexed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from gputrain.engine.common import files
from gputrain.engine.datasets.remote_shards import remote_listing
from gputrain.engine.datasets.shard_formats import shard_scan
from gputrain.engine.datasets.shard_formats.shard_scan import ShardPart, ShardScan
from gputrain.engine.datasets.shard_formats.tar_samples import AUTO

SUFFIX = ".index"
_FORMAT = 1
_KEYS = {"webdataset": ((AUTO,), (AUTO, "cls")), "parquet": ((AUTO, "image"), (AUTO, "label"))}
"""Values of image_key and label_key for which `pack`'s shards have this index."""


def write(shard: Path, name: str, scan: ShardScan) -> None:
    """Write the index of `shard`, whose name will be `name`. Raises OSError."""
    part = shard_scan.stored(scan)
    with shard.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    facts = {**part.facts, "packed": _FORMAT, "size": shard.stat().st_size, "sha256": sha256}
    shard_scan.write_part(shard.with_name(f"{name}{SUFFIX}"), ShardPart(part.columns, facts), files.READABLE)


def packed_part(url: str, size: int, dataset: str, image_key: str, label_key: str) -> ShardPart | None:
    """The part of the remote shard `url`; None if there is no index beside it, or one of another file.

    Raises BadInput if the store cannot be read.
    """
    images, labels = _KEYS.get(dataset, ((), ()))
    if image_key not in images or label_key not in labels:
        return None
    content = remote_listing.content_of(f"{url}{SUFFIX}")
    part = None if content is None else shard_scan.part_of(content)
    return part if part is not None and _is_of(part.facts, size) else None


def _is_of(facts: dict[str, Any], size: int) -> bool:
    return facts.get("packed") == _FORMAT and facts.get("size") == size and isinstance(facts.get("sha256"), str)
