"""Reads the ``index.json`` of a folder of chunks that LitData's `optimize` wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.record_files.listed_shards import Field, ListedShard, inside

_WORD = 4
_DEEPEST = 32


class _Chunk(msgspec.Struct):
    filename: str
    chunk_size: int
    """Its samples."""
    chunk_bytes: int
    """The bytes of its samples; as newer versions write it, of the file before it is compressed as a whole."""


class _Config(msgspec.Struct):
    data_format: list[str]
    data_spec: str | None = None
    compression: str | None = None
    compression_level: str | None = None
    """What is compressed: ``chunk`` (the file, also if absent), ``batch`` or ``sample`` (inside of it)."""
    encryption: Any = None


class _Index(msgspec.Struct):
    chunks: list[_Chunk]
    config: _Config


def litdata_chunks(content: bytes, folder: str, place: str) -> list[ListedShard]:
    """The chunks that an index lists. Raises BadInput with `place` if this is no index of LitData, or encrypted."""
    try:
        found = msgspec.json.decode(content, type=_Index)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise BadInput(f"{place} is no index of LitData: {plain(str(error), 200)}") from None
    config = found.config
    if config.encryption:
        raise BadInput(f"{place}: the chunks are encrypted; write them without encryption")
    names = _leaf_names(config.data_spec, place)
    if names is None or len(names) != len(config.data_format):
        names = [str(number) for number in range(len(config.data_format))]
    fields = tuple(
        Field(name, encoding.partition(":")[0]) for name, encoding in zip(names, config.data_format, strict=True)
    )
    codec = (config.compression or "").partition(":")[0]
    if codec and config.compression_level not in (None, "", "chunk"):
        codec = f"{codec}-{config.compression_level}"
    return [_listed(chunk, fields, codec, folder, place) for chunk in found.chunks]


def _listed(chunk: _Chunk, fields: tuple[Field, ...], codec: str, folder: str, place: str) -> ListedShard:
    if chunk.chunk_size < 0 or chunk.chunk_bytes < 0:
        raise BadInput(f"{place} is damaged: {plain(chunk.filename, 100)} has negative sizes")
    path = inside(folder, chunk.filename, place)
    if not codec:
        return ListedShard(path, chunk.chunk_size, fields)
    # Of the file with its table of offsets. JPEGs in frames are hardly smaller than before.
    estimate = chunk.chunk_bytes + _WORD * (chunk.chunk_size + 2)
    return ListedShard(path, chunk.chunk_size, fields, codec, estimate, exact=False)


def _leaf_names(spec: str | None, place: str) -> list[str] | None:
    """The names of a sample's leaves in their order, ``meta.label`` for nested ones; None if the index has none."""
    if not spec:
        return None
    try:
        _, tree = json.loads(spec)
        return list(_leaves(tree, "", _DEEPEST))
    except (ValueError, TypeError, LookupError, AttributeError):
        raise BadInput(f"{place} is damaged: its data_spec cannot be read") from None


def _leaves(node: dict[str, Any], name: str, depth: int) -> Iterator[str]:
    """`node` as torch's pytree writes it: type, context (of a dict its keys, as JSON) and children."""
    if not depth:
        raise ValueError("too deep")
    if node["type"] is None:
        yield name or "0"
        return
    context = node["context"]
    keys = json.loads(context) if isinstance(context, str) else context
    children = node["children_spec"]
    if not isinstance(keys, list) or len(keys) != len(children):
        keys = list(range(len(children)))
    for key, child in zip(keys, children, strict=True):
        yield from _leaves(child, f"{name}.{key}" if name else str(key), depth - 1)
