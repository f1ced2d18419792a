"""Folders of MDS shards: fields, labels, compressed shards, damage, and folders without a usable index."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from helpers.training.record_files import Sample, mds
from helpers.training.shards import data

from gputrain.engine.common.errors import BadInput
from gputrain.engine.datasets.shards import shard_split
from gputrain.engine.datasets.shards.shard_split import ShardSplit
from gputrain.engine.datasets.shards.sharded_images import ShardFault

COLUMNS = {"image": "jpeg", "label": "int"}


def samples(count: int) -> list[Sample]:
    return [{"image": b"image %04d" % number * (number + 1), "label": number % 3} for number in range(count)]


def opened(home: Path, split: str = "train", **changes: Any) -> ShardSplit:
    return shard_split.open_split(data(home, "mds", **changes), split)


def contents(found: ShardSplit) -> list[bytes]:
    images = pickle.loads(pickle.dumps(found.images))
    return [images.read(index) for index in range(len(images))]


@pytest.mark.parametrize("codec", ["", "gz", "bz2:9", "zstd:3", "br", "snappy"])
def test_images_and_labels(tmp_path: Path, codec: str) -> None:
    if codec not in ("", "gz", "bz2:9"):
        pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install -e '.[dev]')")
    mds(tmp_path / "train", samples(10), COLUMNS, compression=codec)
    found = opened(tmp_path)
    assert contents(found) == [sample["image"] for sample in samples(10)]
    assert found.labels.tolist() == [number % 3 for number in range(10)]
    assert found.classes == ("0", "1", "2")
    name = "shard.00001.mds" + (f".{codec.partition(':')[0]}" if codec else "")
    assert found.images.name(5) == f"{name}/sample 1"
    assert not found.damage


@pytest.mark.parametrize(
    ("columns", "keys", "label"),
    [
        ({"picture": "png", "class": "uint16"}, {}, 7),
        ({"data": "bytes", "what": "int32", "note": "json"}, {}, 7),
        (
            {"a": "jpeg:90", "b": "png", "label": "int", "other": "str"},
            {"image_key": "b", "label_key": "other"},
            "rose",
        ),
        ({"image": "jpeg", "raw": "bytes", "label": "str_int"}, {}, 7),
    ],
)
def test_fields(tmp_path: Path, columns: dict[str, str], keys: dict[str, str], label: int | str) -> None:
    values: Sample = {}
    for name, encoding in columns.items():
        values[name] = 7 if "int" in encoding else "rose" if encoding == "str" else f"content of {name}".encode()
    mds(tmp_path / "train", [values], columns)
    found = opened(tmp_path, **keys)
    image = keys.get("image_key") or next(name for name, kind in columns.items() if kind[:3] in ("jpe", "png", "byt"))
    assert contents(found) == [values[image]]
    assert found.classes[found.labels[0]] == str(label)


@pytest.mark.parametrize(
    ("columns", "keys", "message"),
    [
        (
            {"a": "jpeg", "b": "png", "label": "int"},
            {},
            r"shard.00000.mds has 2 fields of images; it has a \(jpeg\), b",
        ),
        ({"image": "pil", "label": "int"}, {}, r"has no field of images \(jpeg, png or bytes\); it has image \(pil\)"),
        (
            {"image": "pil", "label": "int"},
            {"image_key": "image"},
            "has no image files in 'image', but pil; write them as",
        ),
        ({"image": "jpeg", "x": "int", "y": "int"}, {}, "has 2 fields that may be the class; .*: label_key=NAME"),
        ({"image": "jpeg", "label": "pkl"}, {}, r"has no field of the class \(integer or text\)"),
        ({"image": "jpeg", "label": "int"}, {"label_key": "lable"}, "has no field 'lable'"),
    ],
)
def test_fields_that_do_not_fit(tmp_path: Path, columns: dict[str, str], keys: dict[str, str], message: str) -> None:
    sample: Sample = {name: 1 if encoding == "int" else b"x" for name, encoding in columns.items()}
    mds(tmp_path / "train", [sample], columns)
    with pytest.raises(BadInput, match=message):
        opened(tmp_path, **keys)


def test_a_negative_class_is_refused(tmp_path: Path) -> None:
    mds(tmp_path / "train", [{"image": b"x", "label": -1}], COLUMNS)
    with pytest.raises(BadInput, match=r"sample 0 has class -1, which is not from 0 to .*; unlabelled splits"):
        opened(tmp_path)


def test_a_shard_that_is_cut_off(tmp_path: Path) -> None:
    mds(tmp_path / "train", samples(10), COLUMNS)
    shard = tmp_path / "train" / "shard.00001.mds"
    shard.write_bytes(shard.read_bytes()[:-30])
    found = opened(tmp_path)
    assert found.damage == ("shard.00001.mds: cut off: 1 of 4 samples are missing",)
    assert contents(found) == [sample["image"] for number, sample in enumerate(samples(10)) if number != 7]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"", "the file is empty"),
        (lambda content: content[:10], "cut off in the table of its samples"),
        (lambda content: b"\5" + content[1:], "it says that it has 5 samples, and its index 4: one of them is another"),
        (lambda content: content[:4] + b"\0\0\0\0" + content[8:], "the table of its samples is damaged"),
    ],
)
def test_damaged_shards_are_named(tmp_path: Path, damage: Any, message: str) -> None:
    mds(tmp_path / "train", samples(8), COLUMNS)
    shard = tmp_path / "train" / "shard.00000.mds"
    shard.write_bytes(damage(shard.read_bytes()))
    found = opened(tmp_path)
    assert len(found.damage) == 1
    assert message in found.damage[0]
    assert contents(found) == [sample["image"] for sample in samples(8)[4:]]


def test_a_damaged_sample_is_left_out(tmp_path: Path) -> None:
    mds(tmp_path / "train", samples(4), COLUMNS)
    shard = tmp_path / "train" / "shard.00000.mds"
    content = shard.read_bytes()
    at = content.index(b"image 0001") - 4
    shard.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    found = opened(tmp_path)
    assert "sample 1 is damaged: its fields have" in found.damage[0]
    assert len(found.images) == 3


@pytest.mark.parametrize("codec", ["gz", "bz2", "zstd"])
def test_a_damaged_compressed_shard_is_named(tmp_path: Path, codec: str) -> None:
    if codec == "zstd":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install -e '.[dev]')")
    mds(tmp_path / "train", samples(12), COLUMNS, compression=codec)
    first, second, _ = sorted((tmp_path / "train").glob(f"*.{codec}"))
    first.write_bytes(first.read_bytes()[:40])
    second.write_bytes(b"no archive at all")
    found = opened(tmp_path)
    assert len(found.damage) == 2
    assert all("it cannot be unpacked" in why for why in found.damage)
    assert contents(found) == [sample["image"] for sample in samples(12)[8:]]


def test_a_shard_that_unpacks_to_another_size(tmp_path: Path) -> None:
    mds(tmp_path / "train", samples(4), COLUMNS, compression="gz")
    index = tmp_path / "train" / "index.json"
    described = json.loads(index.read_bytes())
    described["shards"][0]["raw_data"]["bytes"] -= 1
    index.write_text(json.dumps(described))
    with pytest.raises(BadInput, match=r"have no images; .*it has more bytes unpacked, its index says"):
        opened(tmp_path)


def test_a_compressed_shard_that_is_replaced_gives_no_wrong_image(tmp_path: Path) -> None:
    mds(tmp_path / "train", samples(4), COLUMNS, compression="gz")
    found = opened(tmp_path)
    mds(tmp_path / "train", samples(5)[1:], COLUMNS, compression="gz")
    for kept in Path(found.images.remote._cache.folder).iterdir():  # type: ignore[union-attr]
        if kept.is_file():
            kept.unlink()
    with pytest.raises(ShardFault, match="changed after it was indexed"):
        pickle.loads(pickle.dumps(found.images)).read(0)


def test_several_folders_and_the_top(tmp_path: Path) -> None:
    mds(tmp_path / "a", samples(3), COLUMNS)
    mds(tmp_path / "b", samples(5), COLUMNS)
    mds(tmp_path, samples(2), COLUMNS)
    assert len(opened(tmp_path, "a::b").images) == 8
    assert len(opened(tmp_path, ".").images) == 2


def test_folders_without_a_usable_index(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(BadInput, match=r"train_split: .*/train has no index.json; train_split names the folder"):
        opened(tmp_path)
    mds(tmp_path / "training", samples(1), COLUMNS)
    with pytest.raises(BadInput, match=r"has no index.json; these folders have one: training"):
        opened(tmp_path)
    mds(tmp_path, samples(1), COLUMNS)
    with pytest.raises(BadInput, match=r"data_dir itself has one: train_split=. val_split="):
        opened(tmp_path)
    index = tmp_path / "train" / "index.json"
    for text, message in [
        ("{", "is no index of MDS shards"),
        ('{"chunks": []}', "is no index of MDS shards: .*`shards`"),
        ('{"shards": []}', "lists no samples"),
    ]:
        index.write_text(text)
        with pytest.raises(BadInput, match=message):
            opened(tmp_path)
    described = json.loads((tmp_path / "index.json").read_bytes())
    described["shards"][0]["raw_data"]["basename"] = "../../secret"
    index.write_text(json.dumps(described))
    with pytest.raises(BadInput, match=r"lists the file '../../secret', which is not in its folder"):
        opened(tmp_path)
    described["shards"][0]["format"] = "csv"
    index.write_text(json.dumps(described))
    with pytest.raises(BadInput, match="lists shards of the format 'csv'; MDS is read"):
        opened(tmp_path)


def test_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    mds(tmp_path / "train", samples(1), COLUMNS, compression="gz")
    index = tmp_path / "train" / "index.json"
    index.write_text(index.read_text().replace('"compression": "gz"', '"compression": "lzma"'))
    with pytest.raises(BadInput, match="is compressed with 'lzma'; gz, bz2, zstd, br, snappy"):
        opened(tmp_path)
