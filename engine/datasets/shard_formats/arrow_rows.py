"""Scans an Arrow file of Hugging Face's `datasets`: the place of each row's image, and its label. Needs pyarrow.

The file is mapped into memory, and of the images only their places are read.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.folder_layouts import shown
from gputrain.engine.datasets.hugging_face.prepared_datasets import INSTALL
from gputrain.engine.datasets.shard_formats.parquet_columns import Columns, class_labels, columns_of
from gputrain.engine.datasets.shard_formats.shard_scan import LONGEST, ShardScan

_END = b"\xff\xff\xff\xff\0\0\0\0"
"""The end mark of an Arrow stream."""
Places = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Offset in the file and length in bytes of each value; 0 and 0 without one."""


def scan_arrow(path: str, image_key: str, label_key: str, on_row: Callable[[int], None]) -> ShardScan:
    """The images of an Arrow file. `on_row` is called for each record batch with the rows so far.

    Raises BadInput, OSError.
    """
    pa, scan = pyarrow_arrow(), ShardScan()
    try:
        with pa.memory_map(path) as source:
            file = _MappedFile(path, source)
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
    scan: ShardScan, file: _MappedFile, reader: Any, columns: Columns, on_row: Callable[[int], None]
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


class _MappedFile:
    """A file in memory: where values of its record batches are in it."""

    def __init__(self, path: str, source: Any) -> None:
        self.path = path
        self._size: int = source.size()
        self._address: int = source.read_buffer(1).address
        source.seek(0)

    def images(self, column: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Places of the images in a column of bytes, or of structs of bytes and path; and 1 where it is a path's.

        Raises ValueError for damage, BadInput for compressed record batches.
        """
        import pyarrow as pa

        if not pa.types.is_struct(column.type):
            offsets, lengths = self._places(column)
            return offsets, lengths, np.zeros_like(offsets)
        offsets, lengths = self._places(column.field("bytes"))
        are_paths = np.zeros_like(offsets)
        names = [column.type.field(place).name for place in range(column.type.num_fields)]
        if "path" in names and not lengths.all():
            at, sizes = self._places(column.field("path"))
            are_paths = ((lengths == 0) & (sizes > 0)).astype(np.int64)
            offsets, lengths = np.where(are_paths, at, offsets), np.where(are_paths, sizes, lengths)
        present = column.is_valid().to_numpy(zero_copy_only=False)
        return tuple(np.where(present, values, 0) for values in (offsets, lengths, are_paths))  # type: ignore[return-value]

    def _places(self, array: Any) -> Places:
        import pyarrow as pa

        large = pa.types.is_large_binary(array.type) or pa.types.is_large_string(array.type)
        if not (large or pa.types.is_binary(array.type) or pa.types.is_string(array.type)):
            raise ValueError(f"images of the type {array.type}")
        _, ends, content = array.buffers()
        bounds = np.zeros(len(array) + 1, dtype=np.int64)
        if ends is not None and len(array):
            kind = np.int64 if large else np.int32
            bounds = np.frombuffer(ends, kind)[array.offset : array.offset + len(array) + 1].astype(np.int64)
        lengths = np.diff(bounds)
        if not lengths.any():
            return np.zeros_like(lengths), lengths
        start = content.address - self._address
        if not 0 <= start <= self._size - content.size:
            raise BadInput(f"{shown(self.path)}: its record batches are compressed; save it with save_to_disk")
        if (lengths < 0).any() or (lengths > LONGEST).any() or bounds[0] < 0 or bounds[-1] > content.size:
            raise ValueError("values outside of their record batch")
        present = array.is_valid().to_numpy(zero_copy_only=False) & (lengths > 0)
        return np.where(present, bounds[:-1] + start, 0), np.where(present, lengths, 0)
