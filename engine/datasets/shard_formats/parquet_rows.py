"""Scans a Parquet shard: the place of each row's image, and its label. Needs pyarrow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.folder_layouts import shown
from gputrain.engine.datasets.record_files.file_window import FileWindow
from gputrain.engine.datasets.record_files.found_images import LONGEST
from gputrain.engine.datasets.shard_formats import parquet_pages
from gputrain.engine.datasets.shard_formats.parquet_columns import class_labels, columns_of, image_of, pyarrow_parquet
from gputrain.engine.datasets.shard_formats.parquet_pages import PagedValue, Span
from gputrain.engine.datasets.shard_formats.shard_scan import ShardScan

_UNCOMPRESSED = "UNCOMPRESSED"


class _Place(NamedTuple):
    """See `ShardScan`."""

    offset: int
    length: int
    extra: int


def scan_parquet(path: str, image_key: str, label_key: str, on_row: Callable[[int], None]) -> ShardScan:
    """The images of a Parquet shard. `on_row` is called now and then with the rows so far. Raises BadInput, OSError."""
    parquet, scan = pyarrow_parquet(), ShardScan()
    import pyarrow as pa

    try:
        file = parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        scan.damage.append(f"no Parquet file, or cut off: {plain(str(error), 150)}")
        return scan
    with file:
        columns = columns_of(path, file.schema_arrow, image_key, label_key)
        scan.classes = columns.classes
        leaf = _leaf(path, file, columns.image)
        scan.levels = file.schema.column(leaf).max_definition_level
        scan.codec = _codec(path, file.metadata, leaf)
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for group in range(file.num_row_groups):
                on_row(len(scan.offsets))
                _scan_group(scan, path, file, handle, group, leaf, columns.label)
        finally:
            os.close(handle)
    return scan


def _leaf(path: str, file: Any, image: str) -> int:
    """The number of the leaf column of the images."""
    found = next(place for place in range(len(file.schema.names)) if file.schema.column(place).path == image)
    if file.schema.column(found).max_repetition_level:
        raise BadInput(f"{shown(path)}: '{plain(image, 60)}' is a list; one image a row is read")
    return found


def fullest_page(path: str, image_key: str) -> PagedValue | None:
    """The first image of the page with the most images in the first row group of a compressed file.

    None if it is not compressed, or cannot be read. Raises BadInput as `scan_parquet`, and OSError.
    """
    parquet = pyarrow_parquet()
    import pyarrow as pa

    try:
        with parquet.ParquetFile(path) as file, open(path, "rb") as content:  # noqa: PTH123
            leaf = _leaf(path, file, image_of(path, file.schema_arrow, image_key))
            codec = _codec(path, file.metadata, leaf)
            if not codec or not file.metadata.num_rows:
                return None
            level = file.schema.column(leaf).max_definition_level
            chunk = _Chunk(content.fileno(), file.metadata.row_group(0).column(leaf), level, packed=True)
            places = list(_places(chunk))
    except (pa.ArrowException, ValueError, LookupError):
        return None
    # The last one of equal ones: the first page may hold numbers of a small dictionary.
    most = max(reversed(places), key=lambda place: place.extra)
    place = next(place for place in places if place.offset == most.offset)
    return PagedValue((0, place.offset), place.length, place.extra, codec, level)


def check_columns(path: str, image_key: str, label_key: str) -> None:
    """Raises BadInput if a shard has no columns of images and labels, or pyarrow is missing."""
    parquet = pyarrow_parquet()
    import pyarrow as pa

    try:
        schema = parquet.read_schema(path)
    except (pa.ArrowException, OSError):
        return  # damage is counted and named by the scan
    columns_of(path, schema, image_key, label_key)


def _codec(path: str, metadata: Any, leaf: int) -> str:
    found = {metadata.row_group(group).column(leaf).compression for group in range(metadata.num_row_groups)}
    if len(found) > 1:
        raise BadInput(f"{shown(path)}: the images are compressed with {' and '.join(sorted(found))}; write them anew")
    codec = next(iter(found), _UNCOMPRESSED)
    return "" if codec == _UNCOMPRESSED else str(codec)


def _scan_group(scan: ShardScan, path: str, file: Any, handle: int, group: int, leaf: int, label: str) -> None:
    import pyarrow as pa

    chunk = file.metadata.row_group(group).column(leaf)
    first, rows = len(scan.offsets), file.metadata.row_group(group).num_rows
    try:
        labels = class_labels(path, file.read_row_group(group, columns=[label])[label], first, label, len(scan.classes))
        places = list(_places(_Chunk(handle, chunk, scan.levels, packed=bool(scan.codec))))
        if len(places) != rows or len(labels) != rows:
            raise ValueError(f"{len(places)} images, {rows} rows")
    except (ValueError, LookupError, pa.ArrowException) as error:
        scan.damage.append(f"row group {group} cannot be read: {plain(str(error), 150)}")
        return
    for place, value in zip(places, labels, strict=True):
        scan.add(place.offset, place.length, value, place.extra)


class _Chunk:
    """The pages of a column in a row group."""

    def __init__(self, handle: int, described: Any, level: int, *, packed: bool) -> None:
        self.level, self.packed = level, packed
        dictionary = described.dictionary_page_offset
        self.start = min(described.data_page_offset, dictionary or described.data_page_offset)
        self.values = described.num_values
        self.read = FileWindow(handle).read
        """See `parquet_pages.Read`."""


def _places(chunk: _Chunk) -> Iterator[_Place]:
    """The places of a row group's images. Raises ValueError."""
    position, left, dictionary_at = chunk.start, chunk.values, 0
    dictionary: list[Span] = []
    while left > 0:
        header = parquet_pages.read_header(chunk.read, position)
        if header.kind == parquet_pages.DICTIONARY:
            dictionary_at = position
            if not chunk.packed:
                dictionary = parquet_pages.spans(header, chunk.read, header.content, header.end, header.values)
        elif header.kind in (parquet_pages.DATA, parquet_pages.DATA_V2):
            if not header.values:
                raise ValueError("a page without rows")
            left -= header.values
            if chunk.packed:
                back = position - dictionary_at if dictionary_at else 0
                if back > LONGEST:
                    raise ValueError("a row group of more than 4 GiB")
                yield from (_Place(position, back, row) for row in range(header.values))
            else:
                yield from _plain_places(chunk, header, dictionary)
        position = header.end


def _plain_places(chunk: _Chunk, header: parquet_pages.PageHeader, dictionary: list[Span]) -> Iterator[_Place]:
    present, at = parquet_pages.presence(header, chunk.read, header.content, chunk.level)
    count = sum(present)
    if parquet_pages.is_coded(header):
        found = [dictionary[code] for code in parquet_pages.codes(chunk.read, at, header.end, count)]
    else:
        found = parquet_pages.spans(header, chunk.read, at, header.end, count)
    following = iter(found)
    for here in present:
        yield _Place(*next(following), 0) if here else _Place(0, 0, 0)
