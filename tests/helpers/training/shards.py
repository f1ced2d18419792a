"""Shards of images for tests: tar files by Python's tarfile, Parquet files by pyarrow."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gputrain.engine.datasets.image_set import scan
from gputrain.engine.datasets.shards.shard_set import ShardSet


def tar(path: Path, files: Iterable[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> Path:
    """A tar file with `files` (name, content)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def samples(count: int, first: int = 0, classes: int = 3) -> list[tuple[str, bytes]]:
    """`count` samples of small byte strings in place of images."""
    found: list[tuple[str, bytes]] = []
    for number in range(first, first + count):
        found.append((f"{number:06d}.jpg", b"image %06d" % number * 20))
        found.append((f"{number:06d}.cls", b"%d" % (number % classes)))
    return found


def data(folder: Path, dataset: str = "webdataset", **changes: Any) -> Any:
    """The settings of the section data that shards need."""
    values = {
        "data_dir": str(folder),
        "dataset": dataset,
        "image_key": "auto",
        "label_key": "auto",
        "remote_cache_gib": 0.0,
    }
    return SimpleNamespace(**values | changes)


def shard_set(*paths: Path, dataset: str = "webdataset", image_key: str = "auto", label_key: str = "auto") -> ShardSet:
    return ShardSet(dataset, tuple(map(str, paths)), image_key, label_key)


def tars_of(images: Path, to: Path, per_shard: int = 7) -> Path:
    """The class folders in ``images/{train,val}`` as tar shards in their order, ``to/train-000000.tar`` …"""
    for split in ("train", "val"):
        found = scan(str(images), split)
        rows = [(Path(found.path(at)).read_bytes(), int(found.labels[at])) for at in range(len(found))]
        for number, part in enumerate(_parts(rows, per_shard)):
            files = []
            for place, (content, label) in enumerate(part):
                key = f"{number * per_shard + place:06d}"
                files += [(f"{key}.jpg", content), (f"{key}.cls", str(label).encode())]
            tar(to / f"{split}-{number:06d}.tar", files)
        (to / "classes.txt").write_text("".join(f"{name}\n" for name in found.classes))
    return to


def parquets_of(images: Path, to: Path, per_shard: int = 7, **options: Any) -> Path:
    """The same as Parquet files in Hugging Face's layout, ``to/data/train-00000-of-00003.parquet`` …"""
    (to / "data").mkdir(parents=True)
    for split in ("train", "val"):
        found = scan(str(images), split)
        rows = [(Path(found.path(at)).read_bytes(), int(found.labels[at])) for at in range(len(found))]
        parts = list(_parts(rows, per_shard))
        for number, part in enumerate(parts):
            name = f"{split}-{number:05d}-of-{len(parts):05d}.parquet"
            parquet(to / "data" / name, part, found.classes, **options)
    return to


def parquet(
    path: Path, rows: Sequence[tuple[bytes | None, int | None]], classes: Sequence[str] = (), **options: Any
) -> Path:
    """A Parquet file with the columns image {bytes, path} and label; class names as `datasets` writes them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("label", pa.int64())])
    if classes:
        features = {
            "image": {"_type": "Image"},
            "label": {"names": list(classes), "_type": "ClassLabel"},
        }
        schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    columns = {
        "image": [None if content is None else {"bytes": content, "path": "x.jpg"} for content, _ in rows],
        "label": [label for _, label in rows],
    }
    pq.write_table(pa.table(columns, schema), path, **options)
    return path


def _parts(rows: Sequence[tuple[bytes, int]], size: int) -> Iterable[Sequence[tuple[bytes, int]]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def touch_later(path: Path, seconds: int = 5) -> None:
    """Give a file another modification time."""
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + seconds * 1_000_000_000))
