"""Chunks of LitData whose samples are the rows of an Arrow file at their end: dicts of bytes, numbers and texts.

Layout: the table of the samples' offsets, all the same; an Arrow IPC file; its length (32 bits), LDARW01, a zero
byte. Where the samples are written as well, these are read. Needs pyarrow.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.record_files.found_images import Damage, Found, FoundImage, class_of
from gputrain.engine.datasets.record_files.mapped_arrow import MappedArrow

_END = struct.Struct("<I8s")
_MAGIC = b"LDARW01\0"
_FILE = b"ARROW1"
_INSTALL = "pip install 'gputrain-tui[parquet]'"


def _begin(handle: int) -> int:
    """The first byte of the Arrow file in a chunk; 0 if it has none. Raises OSError."""
    size = os.fstat(handle).st_size
    tail = os.pread(handle, _END.size, max(0, size - _END.size))
    if len(tail) < _END.size:
        return 0
    length, magic = _END.unpack(tail)
    return max(0, size - _END.size - length) if magic == _MAGIC else 0


def scan_rows(path: str, shown: str, handle: int, samples: int, image: str, label: str) -> Iterator[Found]:
    """The images of the Arrow file in a chunk, which is open as `handle`. Raises BadInput with `shown`, OSError."""
    begin = _begin(handle)
    if not begin:
        yield Damage(f"its {samples:,} samples are missing: cut off")
        return
    try:
        import pyarrow as pa
    except ImportError as error:
        raise BadInput(f"{shown} needs pyarrow ({plain(str(error), 100)}): {_INSTALL}") from None
    seen = 0
    try:
        with pa.memory_map(path) as source:
            mapped = MappedArrow(shown, source, "its rows are compressed; write it without compression")
            source.seek(begin)
            content = source.read_buffer(source.size() - begin - _END.size)
            open_rows = pa.ipc.open_file if content.slice(0, len(_FILE)).to_pybytes() == _FILE else pa.ipc.open_stream
            reader = open_rows(content)
            for batch in _batches(reader):
                yield from _images(mapped, shown, batch, seen, image, label)
                seen += batch.num_rows
    except (pa.ArrowException, LookupError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        yield Damage(f"its rows are damaged behind sample {seen:,}: {plain(str(error), 150)}")
        return
    if seen != samples:
        yield Damage(f"it has {seen:,} rows, and its index {samples:,} samples: one of them is another file's")


def _batches(reader: Any) -> Iterator[Any]:
    if hasattr(reader, "num_record_batches"):
        return (reader.get_batch(number) for number in range(reader.num_record_batches))
    return iter(reader)


def _images(mapped: MappedArrow, shown: str, batch: Any, first: int, image: str, label: str) -> Iterator[Found]:
    images, labels = (_column(batch, name) for name in (image, label))
    for column in (images, labels):
        column.validate(full=True)
    offsets, lengths = mapped.places(images)
    found = zip(offsets.tolist(), lengths.tolist(), labels.to_pylist(), strict=True)
    for number, (offset, length, value) in enumerate(found, first):
        if not isinstance(value, int | str):
            raise BadInput(
                f"{shown}: sample {number} has no class in '{plain(label, 60)}'; unlabelled splits cannot be used"
            )
        yield FoundImage(offset, length, class_of(f"{shown}: sample {number}", value))


def _column(batch: Any, name: str) -> Any:
    """The column of a leaf, ``meta.label`` for one in a dict. Raises LookupError."""
    if name in batch.schema.names:
        return batch.column(name)
    first, *rest = name.split(".")
    found = batch.column(first)
    for key in rest:
        found = found.field(key)
    return found
