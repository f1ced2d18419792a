"""MDS shards, LitData chunks and TFRecord files for tests, written byte by byte.

`test_real_writers` and `test_tensorflow_writer` compare them with what the real packages write.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gputrain.engine.datasets.image_set import ImageSet, scan

Value = bytes | int | str
Sample = dict[str, Value]
_SIZES = {"int": 8, "uint16": 2, "int32": 4}


def compressed(content: bytes, codec: str) -> bytes:
    """As the libraries compress whole shards."""
    if codec in ("gz", "bz2"):
        return gzip.compress(content) if codec == "gz" else bz2.compress(content)
    import pyarrow as pa

    return bytes(pa.compress(content, codec={"br": "brotli"}.get(codec, codec), asbytes=True))


def _encoded(value: Value, encoding: str) -> bytes:
    if isinstance(value, int):
        if encoding == "str_int":
            return str(value).encode()
        return value.to_bytes(_SIZES[encoding], "little", signed=not encoding.startswith("u"))
    return value.encode() if isinstance(value, str) else value


def _table(samples: Sequence[bytes], behind: bytes = b"") -> bytes:
    """A file of `samples` with the table of their offsets in front, and `behind` between."""
    begin = 4 * (len(samples) + 2) + len(behind)
    offsets = [begin]
    for sample in samples:
        offsets.append(offsets[-1] + len(sample))
    return struct.pack(f"<{len(samples) + 2}I", len(samples), *offsets) + behind + b"".join(samples)


def mds(
    folder: Path, samples: Sequence[Sample], columns: Mapping[str, str], per_shard: int = 4, compression: str = ""
) -> Path:
    """A folder of MDS shards with their index."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(columns)
    sizes = [_SIZES.get(columns[name]) for name in names]
    config = {
        "column_encodings": [columns[name] for name in names],
        "column_names": names,
        "column_sizes": sizes,
        "compression": compression or None,
        "format": "mds",
        "hashes": [],
        "size_limit": 1 << 26,
        "version": 2,
    }
    rows = []
    for number, start in enumerate(range(0, len(samples), per_shard)):
        part = []
        for sample in samples[start : start + per_shard]:
            fields = [_encoded(sample[name], columns[name]) for name in names]
            head = [len(field) for field, size in zip(fields, sizes, strict=True) if size is None]
            part.append(struct.pack(f"<{len(head)}I", *head) + b"".join(fields))
        content = _table(part, json.dumps(config, sort_keys=True).encode())
        name = f"shard.{number:05d}.mds"
        row: dict[str, Any] = {
            **config,
            "samples": len(part),
            "raw_data": {"basename": name, "bytes": len(content), "hashes": {}},
            "zip_data": None,
        }
        if compression:
            content, name = (
                compressed(content, compression.partition(":")[0]),
                f"{name}.{compression.partition(':')[0]}",
            )
            row["zip_data"] = {"basename": name, "bytes": len(content), "hashes": {}}
        (folder / name).write_bytes(content)
        rows.append(row)
    (folder / "index.json").write_text(json.dumps({"shards": rows, "version": 2}, sort_keys=True))
    return folder


def litdata(
    folder: Path,
    samples: Sequence[Mapping[str, Value]] | Sequence[tuple[Value, ...]],
    formats: Sequence[str],
    per_chunk: int = 4,
    compression: str = "",
) -> Path:
    """A folder of LitData's chunks with their index; samples of dicts or tuples."""
    folder.mkdir(parents=True, exist_ok=True)
    leaf: dict[str, Any] = {"type": None, "context": None, "children_spec": []}
    first = samples[0]
    kind, context = (
        ("builtins.dict", json.dumps(list(first))) if isinstance(first, Mapping) else ("builtins.tuple", "null")
    )
    spec = json.dumps([1, {"type": kind, "context": context, "children_spec": [leaf] * len(formats)}])
    chunks = []
    for number, start in enumerate(range(0, len(samples), per_chunk)):
        part = []
        for sample in samples[start : start + per_chunk]:
            values = list(sample.values()) if isinstance(sample, Mapping) else list(sample)
            fields = [_encoded(value, encoding) for value, encoding in zip(values, formats, strict=True)]
            part.append(struct.pack(f"<{len(fields)}I", *map(len, fields)) + b"".join(fields))
        content = _table(part)
        name = f"chunk-0-{number}.{compression}.bin" if compression else f"chunk-0-{number}.bin"
        (folder / name).write_bytes(compressed(content, compression) if compression else content)
        chunks.append({"chunk_bytes": len(content), "chunk_size": len(part), "dim": None, "filename": name})
    config = {
        "chunk_bytes": None,
        "chunk_size": per_chunk,
        "compression": compression or None,
        "data_format": list(formats),
        "data_spec": spec,
        "encryption": None,
        "item_loader": "PyTreeLoader",
    }
    (folder / "index.json").write_text(json.dumps({"chunks": chunks, "config": config}, sort_keys=True))
    return folder


def with_litdata_rows(folder: Path, samples: Sequence[Mapping[str, Value]], per_chunk: int = 4, **options: Any) -> Path:
    """Chunks of `litdata` with the samples as rows of an Arrow file, as LitData writes dicts of plain values."""
    import pyarrow as pa

    for number, start in enumerate(range(0, len(samples), per_chunk)):
        rows = pa.Table.from_pylist([dict(sample) for sample in samples[start : start + per_chunk]])
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, rows.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
            writer.write_table(rows, max_chunksize=3)
        content = bytes(sink.getvalue())
        table = _table([b""] * len(rows))
        (folder / f"chunk-0-{number}.bin").write_bytes(table + content + struct.pack("<I", len(content)) + b"LDARW01\0")
    return folder


@functools.cache
def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        state = byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
        table.append(state)
    return table


def crc32c(data: bytes) -> int:
    """Byte by byte."""
    table, state = _crc_table(), 0xFFFFFFFF
    for byte in data:
        state = table[(state ^ byte) & 255] ^ state >> 8
    return state ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    found = crc32c(data)
    return struct.pack("<I", ((found >> 15 | found << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _varint(value: int) -> bytes:
    found = b""
    value &= (1 << 64) - 1
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def _message(*fields: tuple[int, bytes]) -> bytes:
    return b"".join(_varint(number << 3 | 2) + _varint(len(content)) + content for number, content in fields)


def example(features: Mapping[str, Value | Sequence[Value]]) -> bytes:
    """A serialized tf.train.Example, its features sorted by name, integers packed."""
    entries = []
    for name in sorted(features):
        value = features[name]
        values: list[Any] = [value] if isinstance(value, bytes | int | str) else list(value)
        if values and isinstance(values[0], int):
            feature = _message((3, _message((1, b"".join(map(_varint, values))))))
        else:
            texts = [each.encode() if isinstance(each, str) else each for each in values]
            feature = _message((1, _message(*((1, text) for text in texts))))
        entries.append((1, _message((1, name.encode()), (2, feature))))
    return _message((1, _message(*entries)))


def tfrecord(path: Path, records: Sequence[bytes]) -> Path:
    """A TFRecord file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = b""
    for record in records:
        length = struct.pack("<Q", len(record))
        content += length + _masked(length) + record + _masked(record)
    path.write_bytes(content)
    return path


def _rows(images: ImageSet) -> list[tuple[bytes, int]]:
    return [(Path(images.path(at)).read_bytes(), int(images.labels[at])) for at in range(len(images))]


def _splits(images: Path, to: Path, write: Callable[[str, list[tuple[bytes, int]]], object]) -> Path:
    for split in ("train", "val"):
        found = scan(str(images), split)
        write(split, _rows(found))
    (to / "classes.txt").write_text("".join(f"{name}\n" for name in found.classes))
    return to


def mds_of(images: Path, to: Path, compression: str = "") -> Path:
    """The class folders in ``images/{train,val}`` as MDS shards in their order, ``to/{train,val}``."""

    def write(split: str, rows: list[tuple[bytes, int]]) -> None:
        samples: list[Sample] = [{"image": content, "label": label} for content, label in rows]
        mds(to / split, samples, {"image": "jpeg", "label": "int"}, 7, compression)

    return _splits(images, to, write)


def litdata_of(images: Path, to: Path, compression: str = "") -> Path:
    """The same as chunks of LitData."""

    def write(split: str, rows: list[tuple[bytes, int]]) -> None:
        samples: list[Sample] = [{"image": content, "class": label} for content, label in rows]
        litdata(to / split, samples, ["jpeg", "int"], 7, compression)

    return _splits(images, to, write)


def tfrecords_of(images: Path, to: Path) -> Path:
    """The same as TFRecord files, ``to/train-00000-of-00006`` …"""

    def write(split: str, rows: list[tuple[bytes, int]]) -> None:
        parts = [rows[start : start + 7] for start in range(0, len(rows), 7)]
        for number, part in enumerate(parts):
            records = [example({"image/encoded": content, "image/class/label": label}) for content, label in part]
            tfrecord(to / f"{split}-{number:05d}-of-{len(parts):05d}", records)

    return _splits(images, to, write)
