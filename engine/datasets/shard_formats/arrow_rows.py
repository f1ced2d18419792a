"""Scans an Arrow file of Hugging Face's `datasets`: the place of each row's image, and its label. Needs pyarrow.

The file is mapped into memory, and of the images only their places are read.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.hugging_face.prepared_datasets import INSTALL
from gputrain.engine.datasets.record_files.mapped_arrow import MappedArrow
from gputrain.engine.datasets.shard_formats.parquet_columns import Columns, class_labels, columns_of
from gputrain.engine.datasets.shard_formats.shard_scan import ShardScan

_COMPRESSED = "its record batches are compressed; save it with save_to_disk"
_END = b"\xff\xff\xff\xff\0\0\0\0"
"""The end mark of an Arrow stream."""


def scan_arrow(path: str, image_key: str, label_key: str, on_row: Callable[[int], None]) -> ShardScan:
    """The images of an Arrow file. `on_row` is called for each record batch with the rows so far.

    Raises BadInput, OSError.
    """
    pa, scan = pyarrow_arrow(), ShardScan()
    try:
        with pa.memory_map(path) as source:
            file = MappedArrow(path, source, _COMPRESSED)
            reader = pa.ipc.open_stream(source)
            columns = columns_of(path, reader.schema, image_key, label_key)
            scan.classes = columns.classes
            _scan_batches(scan, file, reader, columns, on_row)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        scan.damage.append(f"no Arrow stream, or cut off: {plain(str(error), 150)}")
        return scan
    if not scan.damage and not _has_end(path):
        scan.damage.append("it has no end mark: it may be cut off")
    return scan


def check_columns(path: str, image_key: str, label_key: str) -> None:
    """Raises BadInput if an Arrow file has no columns of images and labels, or pyarrow is missing."""
    pa = pyarrow_arrow()
    try:
        with pa.memory_map(path) as source:
            schema = pa.ipc.open_stream(source).schema
    except (pa.ArrowException, OSError):
        return  # damage is counted and named by the scan
    columns_of(path, schema, image_key, label_key)


def pyarrow_arrow() -> Any:
    """The module pyarrow, for Arrow files. Raises BadInput with the remedy if it is not installed."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise BadInput(f"dataset=hf needs pyarrow ({plain(str(error), 100)}): {INSTALL}") from None
    return pa


def _has_end(path: str) -> bool:
    with Path(path).open("rb") as file:
        file.seek(-len(_END), os.SEEK_END)
        return file.read() == _END


def _scan_batches(
    scan: ShardScan, file: MappedArrow, reader: Any, columns: Columns, on_row: Callable[[int], None]
) -> None:
    pa = pyarrow_arrow()
    # The path of a leaf (`image.bytes`) is that of the column, if it is a struct.
    image = columns.image if columns.image in reader.schema.names else columns.image.removesuffix(".bytes")
    while True:
        first = len(scan.offsets)
        on_row(first)
        try:
            batch = reader.read_next_batch()
            for name in (image, columns.label):
                batch.column(name).validate(full=True)
            offsets, lengths, are_paths = file.images(batch.column(image))
        except StopIteration:
            return
        except (ValueError, pa.ArrowException, OSError) as error:
            scan.damage.append(f"cut off or damaged behind row {first:,}: {plain(str(error), 150)}")
            return
        labels = class_labels(file.path, batch.column(columns.label), first, columns.label, len(scan.classes))
        for place in zip(offsets.tolist(), lengths.tolist(), labels, are_paths.tolist(), strict=True):
            scan.add(*place)
