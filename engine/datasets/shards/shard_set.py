"""ShardSet: the shards of a split, and how they are read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, NamedTuple

from gputrain.engine.common.remote_urls import is_url
from gputrain.engine.datasets.record_files.listed_shards import ListedShard


class ShardStat(NamedTuple):
    """A shard's file as it was when it was indexed."""

    size: int
    mtime: int
    """Modification time in ns; of a remote shard its version, see `RemoteStat`."""


@dataclass(frozen=True, slots=True)
class ShardSet:
    """The shards of a split, and how they are read."""

    dataset: str
    """One of `SHARDED`, see the settings."""
    paths: tuple[str, ...]
    image_key: str
    label_key: str
    cache_bytes: int = 0
    """Limit of the cache of remote and compressed shards; 0: what the disk has."""
    listed: tuple[ListedShard, ...] = ()
    """What an ``index.json`` says of each shard; empty for formats without one."""
    labels_file: str = ""
    """File with the classes of images whose shards have none."""
    rows: str = ""
    """The part of the images that is the split, see `row_ranges`; the index is of all."""

    @property
    def root(self) -> str:
        """The folder to which the shards' names are relative, or its URL."""
        folders = [os.path.dirname(path) for path in self.paths]  # noqa: PTH120
        if not self.is_remote:
            return os.path.commonpath(folders)
        # Without the scheme, whose two slashes would become one.
        common = os.path.commonpath([folder.partition("://")[2] for folder in folders])
        return f"{self.paths[0].partition('://')[0]}://{common}"

    @property
    def is_remote(self) -> bool:
        """Whether the shards come from an object store or a web server."""
        return is_url(self.paths[0])

    @property
    def is_fetched(self) -> bool:
        """Whether the shards come into the cache before they are read: remote ones, and compressed ones."""
        return self.is_remote or any(shard.codec for shard in self.listed)

    def facts(self, number: int) -> dict[str, Any]:
        """How the file of a shard is compressed as a whole."""
        if not self.listed:
            return {}
        shard = self.listed[number]
        return {"packed": shard.codec, "unpacked": shard.unpacked, "exact": shard.exact}

    def names(self) -> list[str]:
        """The shards' names, relative to `root`."""
        if self.is_remote:
            return [path.removeprefix(f"{self.root}/") for path in self.paths]
        return [os.path.relpath(path, self.root) for path in self.paths]
