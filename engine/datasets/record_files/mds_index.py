"""Reads the ``index.json`` of MDS shards, the format of MosaicML Streaming."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.record_files.listed_shards import Field, ListedShard, inside

_FORMAT = "mds"


class _File(msgspec.Struct):
    basename: str
    bytes: int


class _Shard(msgspec.Struct):
    format: str
    samples: int
    raw_data: _File
    column_names: list[str] = []
    column_encodings: list[str] = []
    column_sizes: list[int | None] = []
    zip_data: _File | None = None
    compression: str | None = None


class _Index(msgspec.Struct):
    shards: list[_Shard]


def mds_shards(content: bytes, folder: str, place: str, exists: Callable[[str], bool]) -> list[ListedShard]:
    """The shards that an index lists. `exists`: whether a file is there, asked for shards that are written twice.

    Raises BadInput with `place` if this is no index of MDS shards.
    """
    try:
        found = msgspec.json.decode(content, type=_Index)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise BadInput(f"{place} is no index of MDS shards: {plain(str(error), 200)}") from None
    return [_listed(shard, folder, place, exists) for shard in found.shards]


def _listed(shard: _Shard, folder: str, place: str, exists: Callable[[str], bool]) -> ListedShard:
    if shard.format != _FORMAT:
        raise BadInput(f"{place} lists shards of the format '{plain(shard.format, 40)}'; MDS is read: write them anew")
    columns = len(shard.column_names)
    if not columns or columns != len(shard.column_encodings) or columns != len(shard.column_sizes):
        raise BadInput(f"{place} is damaged: the columns of {plain(shard.raw_data.basename, 100)} do not fit together")
    fields = tuple(
        Field(name, encoding.partition(":")[0], size or 0)
        for name, encoding, size in zip(shard.column_names, shard.column_encodings, shard.column_sizes, strict=True)
    )
    if shard.samples < 0 or any(field.size < 0 for field in fields):
        raise BadInput(f"{place} is damaged: {plain(shard.raw_data.basename, 100)} has negative sizes")
    raw = inside(folder, shard.raw_data.basename, place)
    if shard.zip_data is None or exists(raw):
        return ListedShard(raw, shard.samples, fields)
    packed = inside(folder, shard.zip_data.basename, place)
    codec = (shard.compression or "").partition(":")[0]
    return ListedShard(packed, shard.samples, fields, codec, shard.raw_data.bytes)
