"""Writes one shard: a tar file in WebDataset's layout, or a Parquet file in Hugging Face's."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from gputrain.engine.common.errors import BadInput
from gputrain.engine.datasets.folder_layouts import shown
from gputrain.engine.datasets.shard_formats import parquet_rows, tar_samples
from gputrain.engine.datasets.shard_formats.parquet_columns import pyarrow_parquet
from gputrain.engine.datasets.shard_formats.shard_scan import ShardScan
from gputrain.engine.datasets.shard_formats.tar_samples import AUTO

_GROUP_BYTES = 32 << 20
"""Images of a row group: what a reader of whole row groups holds in memory."""


class PackedImage(NamedTuple):
    """An image to write."""

    content: bytes
    suffix: str
    """Its format: ``jpg``."""
    label: int
    name: str
    """Its name in the source."""


class ShardWriter(Protocol):
    """Writes one shard."""

    def add(self, image: PackedImage) -> None:
        """Append an image. Raises OSError."""
        ...

    def close(self) -> None:
        """Complete the file. Raises OSError."""
        ...


class TarWriter:
    """A tar shard: a file with the image, and one with the class number, for each sample."""

    def __init__(self, path: Path, first: int) -> None:
        """`first`: the number of the first sample, which is its key."""
        self._file = path.open("wb")
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - closed below
        self._number = first

    def add(self, image: PackedImage) -> None:
        """See `ShardWriter`."""
        key = f"{self._number:09d}"
        self._write(f"{key}.{image.suffix}", image.content)
        self._write(f"{key}.cls", str(image.label).encode())
        self._number += 1

    def _write(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))

    def close(self) -> None:
        """See `ShardWriter`."""
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


class ParquetWriter:
    """A Parquet shard: columns ``image`` (bytes, path) and ``label``, uncompressed: images are read by offset."""

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        """Raises BadInput without pyarrow."""
        parquet = pyarrow_parquet()
        import pyarrow as pa

        struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        features = {"image": {"_type": "Image"}, "label": {"names": list(classes), "_type": "ClassLabel"}}
        described = {"huggingface": json.dumps({"info": {"features": features}})}
        self._schema = pa.schema([("image", struct), ("label", pa.int64())], described)
        self._path = path
        # Images do not repeat, and are compressed themselves.
        self._writer: Any = parquet.ParquetWriter(
            path, self._schema, compression="none", use_dictionary=False, write_statistics=False
        )
        self._rows: list[PackedImage] = []
        self._bytes = 0

    def add(self, image: PackedImage) -> None:
        """See `ShardWriter`."""
        self._rows.append(image)
        self._bytes += len(image.content)
        if self._bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        columns = {
            "image": [{"bytes": one.content, "path": one.name} for one in self._rows],
            "label": [one.label for one in self._rows],
        }
        self._writer.write_table(pa.table(columns, self._schema))
        self._rows, self._bytes = [], 0

    def close(self) -> None:
        """See `ShardWriter`."""
        if self._rows:
            self._flush()
        self._writer.close()
        handle = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def verify(path: Path, form: str, written: Sequence[tuple[int, int]]) -> ShardScan:
    """Read a shard back as training does, and compare it with what was `written`: (CRC-32, label) of each image.

    Returns its scan. Raises BadInput naming the shard.
    """
    if form == "parquet":
        scan = parquet_rows.scan_parquet(str(path), AUTO, AUTO, lambda _: None)
    else:
        scan = tar_samples.scan_tar(str(path), AUTO, AUTO, lambda _: None)
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        places = zip(scan.offsets, scan.lengths, scan.labels, strict=True)
        found = [(zlib.crc32(os.pread(handle, length, offset)), label) for offset, length, label in places]
    finally:
        os.close(handle)
    if scan.damage or found != list(written):
        raise BadInput(f"{shown(path)}: what was read back differs from what was written: is the disk damaged?")
    return scan
