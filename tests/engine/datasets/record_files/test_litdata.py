"""Folders of LitData's chunks: names of the leaves, labels, compression, damage."""

from __future__ import annotations

import itertools
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from helpers.training.record_files import Sample, compressed, litdata, with_litdata_rows
from helpers.training.shards import data

from gputrain.engine.common.errors import BadInput
from gputrain.engine.datasets.record_files.litdata_index import litdata_chunks
from gputrain.engine.datasets.shards import shard_split
from gputrain.engine.datasets.shards.shard_split import ShardSplit


def opened(home: Path, **changes: Any) -> ShardSplit:
    return shard_split.open_split(data(home, "litdata", **changes), "train")


def contents(found: ShardSplit) -> list[bytes]:
    return [found.images.read(index) for index in range(len(found.images))]


IMAGES = [b"picture %d" % number * (number + 2) for number in range(6)]


@pytest.mark.parametrize("codec", ["", "zstd"])
def test_samples_of_dicts(tmp_path: Path, codec: str) -> None:
    if codec:
        pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install -e '.[dev]')")
    rows: list[Sample] = [{"index": 9, "image": content, "class": number % 2} for number, content in enumerate(IMAGES)]
    litdata(tmp_path / "train", rows, ["int", "jpeg", "int"], compression=codec)
    found = opened(tmp_path)
    assert contents(found) == IMAGES
    assert found.labels.tolist() == [0, 1] * 3
    assert found.images.name(4) == f"chunk-0-1{'.zstd' if codec else ''}.bin/sample 0"


def test_samples_of_tuples(tmp_path: Path) -> None:
    litdata(tmp_path / "train", [(content, "rose", 5) for content in IMAGES], ["bytes", "str", "int"])
    with pytest.raises(BadInput, match=r"2 fields that may be the class; it has 0 \(bytes\), 1 \(str\), 2 \(int\)"):
        opened(tmp_path)
    found = opened(tmp_path, label_key="1")
    assert contents(found) == IMAGES
    assert found.classes == ("rose",)


def test_names_of_nested_leaves() -> None:
    leaf: dict[str, Any] = {"type": None, "context": None, "children_spec": []}
    inner = {"type": "builtins.dict", "context": '["id", "name"]', "children_spec": [leaf, leaf]}
    pair = {"type": "builtins.tuple", "context": "null", "children_spec": [leaf, inner]}
    outer = {"type": "builtins.dict", "context": '["image", "meta"]', "children_spec": [leaf, pair]}
    index = {
        "chunks": [{"filename": "c.bin", "chunk_size": 1, "chunk_bytes": 9, "dim": None}],
        "config": {"data_format": ["jpeg", "int", "int", "str"], "data_spec": json.dumps([1, outer])},
    }
    (found,) = litdata_chunks(json.dumps(index).encode(), "/data", "index.json")
    assert [field.name for field in found.fields] == ["image", "meta.0", "meta.1.id", "meta.1.name"]
    assert found.path == "/data/c.bin"


def test_chunks_that_cannot_be_read(tmp_path: Path) -> None:
    rows: list[Sample] = [{"image": content, "label": 0} for content in IMAGES]
    litdata(tmp_path / "train", rows, ["jpeg", "int"])
    chunk = tmp_path / "train" / "chunk-0-1.bin"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    found = opened(tmp_path)
    assert found.damage == ("chunk-0-1.bin: cut off: 1 of 2 samples are missing",)
    assert contents(found) == IMAGES[:5]
    index = tmp_path / "train" / "index.json"
    described = json.loads(index.read_bytes())
    described["config"]["encryption"] = {"algorithm": "fernet", "level": "sample"}
    index.write_text(json.dumps(described))
    with pytest.raises(BadInput, match="the chunks are encrypted"):
        opened(tmp_path)
    described["config"] |= {"encryption": None, "data_format": ["no_header_tensor:1", "int"]}
    index.write_text(json.dumps(described))
    with pytest.raises(BadInput, match=r"has no field of images .*; it has image \(no_header_tensor\), label \(int\)"):
        opened(tmp_path)
    described["config"]["data_spec"] = "[1, {"
    index.write_text(json.dumps(described))
    with pytest.raises(BadInput, match=r"index\.json is damaged: its data_spec cannot be read"):
        opened(tmp_path)
    index.write_text('{"shards": []}')
    with pytest.raises(BadInput, match="is no index of LitData"):
        opened(tmp_path)


def _frames(contents: list[bytes], per_frame: int) -> bytes:
    """A chunk of these samples in frames, as its format is documented."""
    offsets = [0]
    for content in contents:
        offsets.append(offsets[-1] + len(content))
    groups = [contents[start : start + per_frame] for start in range(0, len(contents), per_frame)]
    packed = [compressed(b"".join(group), "zstd") for group in groups]
    at = 24 + 4 * len(offsets) + 24 * len(groups)
    table = b""
    for number, (group, content) in enumerate(zip(groups, packed, strict=True)):
        table += struct.pack("<IIQII", number * per_frame, len(group), at, len(content), sum(map(len, group)))
        at += len(content)
    head = struct.pack("<8sHHIII", b"LDFZ01", 1, 0, len(contents), per_frame, len(groups))
    return head + struct.pack(f"<{len(offsets)}I", *offsets) + table + b"".join(packed)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content, ""),
        (lambda content: content[:50], "it is cut off in its head"),
        (lambda content: b"X" + content[1:], "it has no frames"),
        (lambda content: content[:8] + b"\2" + content[9:], "it has another version of frames"),
        (lambda content: content[:-9], "it cannot be unpacked"),
        (lambda content: content[:28] + b"\xff\xff" + content[30:48] + b"\xff" + content[49:], "frames do not fit"),
    ],
)
def test_chunks_in_frames(tmp_path: Path, damage: Any, message: str) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install -e '.[dev]')")
    rows: list[Sample] = [{"image": content, "label": 1} for content in IMAGES]
    litdata(tmp_path / "train", rows, ["jpeg", "int"], per_chunk=6)
    index, chunk = (tmp_path / "train" / name for name in ("index.json", "chunk-0-0.bin"))
    whole = chunk.read_bytes()
    places = struct.unpack_from("<7I", whole, 4)
    chunk.write_bytes(damage(_frames([whole[begin:end] for begin, end in itertools.pairwise(places)], 4)))
    described = json.loads(index.read_bytes())
    described["config"] |= {"compression": "zstd", "compression_level": "batch"}
    described["chunks"][0]["chunk_bytes"] = chunk.stat().st_size
    index.write_text(json.dumps(described))
    if not message:
        assert contents(opened(tmp_path)) == IMAGES
        return
    with pytest.raises(BadInput, match=message):
        opened(tmp_path)


def rows_of(home: Path, **options: Any) -> Path:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install -e '.[dev]')")
    rows: list[Sample] = [{"image": content, "label": number % 3} for number, content in enumerate(IMAGES)]
    return with_litdata_rows(litdata(home / "train", rows, ["bytes", "int"]), rows, **options)


def test_samples_that_are_rows_of_arrow(tmp_path: Path) -> None:
    """As `optimize` writes dicts of bytes, numbers and texts where pyarrow is installed."""
    rows_of(tmp_path)
    found = opened(tmp_path)
    assert (contents(found), found.labels.tolist(), found.damage) == (IMAGES, [0, 1, 2] * 2, ())


def test_rows_of_arrow_that_cannot_be_read(tmp_path: Path) -> None:
    chunk = rows_of(tmp_path) / "chunk-0-1.bin"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:-30])
    found = opened(tmp_path)
    assert (contents(found), found.damage) == (IMAGES[:4], ("chunk-0-1.bin: its 2 samples are missing: cut off",))
    chunk.write_bytes(whole[:-18] + b"ARROW2" + whole[-12:])
    assert "chunk-0-1.bin: its rows are damaged behind sample 0" in opened(tmp_path).damage[0]
    rows_of(tmp_path, compression="zstd")
    with pytest.raises(BadInput, match=r"chunk-0-[01].bin: its rows are compressed; write it without compression"):
        opened(tmp_path)


def test_a_label_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    """The only integer is the number of the row, and no class."""
    row: Sample = {"image": b"x", "label": b"1.0", "id": 0}
    litdata(tmp_path / "train", [row], ["bytes", "float", "int"])
    with pytest.raises(BadInput, match=r"has no classes in 'label', but float; classes are integers or texts; it has"):
        opened(tmp_path)
