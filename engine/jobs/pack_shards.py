"""Packs a data set into shards, in a child process. Without torch."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.processes.child_job import ProgressCallback, run_job

Format = Literal["webdataset", "parquet"]


class PackOrder(Struct, frozen=True, kw_only=True):
    """The child's input."""

    config: RunConfig
    to: str
    """The folder of the shards."""
    format: Format
    shard_bytes: int
    """Bytes of images from which a shard is complete."""
    short_side: int = 0
    """Larger images are resized to this short side and encoded as JPEG; 0: all files are copied as they are."""
    quality: int = 92
    keep_order: bool = False
    """Whether training images stay in the order of the reader instead of a shuffled one."""


class PackedShards(Struct, frozen=True, kw_only=True):
    """The child's result."""

    shards: int
    images: int
    bytes: int
    """Size of all shards."""
    kept: int
    """Shards of an earlier, interrupted call."""
    encoded: int
    """Images that this call encoded anew."""
    bad: tuple[str, ...]
    """Path and reason of images that could not be read, and were left out."""


def pack(order: PackOrder, tell: ProgressCallback) -> PackedShards:
    """Write and verify the shards; continues an earlier call.

    Raises BadInput where the data or the options cannot be used, RuntimeError where the work fails.
    """
    return run_job("gputrain.engine.training.packing.pack_child", order, PackedShards, tell)
