"""TFRecord files of Examples: features, sums, damage, and files of other kinds. Written without TensorFlow.

`tests/engine/keras/test_tensorflow_writer.py` compares the files with those of TensorFlow.
"""

from __future__ import annotations

import gzip
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from helpers.training import record_files
from helpers.training.record_files import example, tfrecord
from helpers.training.shards import data
from hypothesis import given, settings
from hypothesis import strategies as st

from gputrain.engine.common.errors import BadInput
from gputrain.engine.datasets.record_files.crc32c import crc32c
from gputrain.engine.datasets.record_files.example_features import features_of, integers_of
from gputrain.engine.datasets.shards import shard_split
from gputrain.engine.datasets.shards.shard_patterns import layout_of, shards_of
from gputrain.engine.datasets.shards.shard_split import ShardSplit

IMAGES = [b"picture %d" % number * (number * 40 + 2) for number in range(6)]


def records(**more: Any) -> list[bytes]:
    return [
        example({"image/encoded": content, "image/class/label": number % 2 + 1, "image/height": 9, **more})
        for number, content in enumerate(IMAGES)
    ]


def opened(home: Path, **changes: Any) -> ShardSplit:
    return shard_split.open_split(data(home, "tfrecord", **changes), "train")


def contents(found: ShardSplit) -> list[bytes]:
    return [found.images.read(index) for index in range(len(found.images))]


def test_images_and_labels(tmp_path: Path) -> None:
    tfrecord(tmp_path / "train-00000-of-00002", records()[:4])
    tfrecord(tmp_path / "train-00001-of-00002", records()[4:])
    found = opened(tmp_path)
    assert contents(found) == IMAGES
    assert found.labels.tolist() == [1, 2] * 3
    assert found.classes == ("0", "1", "2")
    assert found.images.name(5) == "train-00001-of-00002/record 1"


@pytest.mark.parametrize(
    ("features", "keys", "label"),
    [
        ({"image": b"x", "label": 3}, {}, "3"),
        ({"image/encoded": b"x", "image/class/text": "rose", "image": b"y"}, {}, "rose"),
        (
            {"image/encoded": b"y", "image/class/label": 1, "left": b"x", "species": "rose"},
            {"image_key": "left", "label_key": "species"},
            "rose",
        ),
        ({"image": [b"x"], "label": [300]}, {"label_key": "label"}, "300"),
    ],
)
def test_features(tmp_path: Path, features: dict[str, Any], keys: dict[str, str], label: str) -> None:
    tfrecord(tmp_path / "train.tfrecord", [example(features)])
    found = opened(tmp_path, **keys)
    assert contents(found) == [b"x"]
    assert found.classes[found.labels[0]] == label


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            {"picture": b"x", "label": 1},
            r"record 0 has no image in image/encoded or image; it has label \(integers\), pic",
        ),
        ({"image": [b"x", b"y"], "label": 1}, "has no single image in image; .*: image_key=NAME"),
        ({"image": 5, "label": 1}, "has no single image in image"),
        ({"image": b"x"}, "has no single class .* in image/class/label or image/class/text or label; .*label_key=NAME"),
        ({"image": b"x", "label": [1, 2]}, "has no single class"),
        ({"image": b"x", "label": -1}, "record 0 has class -1, which is not from 0"),
        ({"image": b"x", "label": ""}, "record 0 has no class name"),
    ],
)
def test_features_that_do_not_fit(tmp_path: Path, features: dict[str, Any], message: str) -> None:
    tfrecord(tmp_path / "train.tfrecord", [example(features)])
    with pytest.raises(BadInput, match=message):
        opened(tmp_path)


def test_records_that_are_no_examples(tmp_path: Path) -> None:
    tfrecord(tmp_path / "train.tfrecord", [b"\xff" * 9])
    with pytest.raises(BadInput, match=r"record 0 is no tf.train.Example \("):
        opened(tmp_path)


@pytest.mark.parametrize(("pack", "name"), [(gzip.compress, "GZIP"), (zlib.compress, "ZLIB")])
def test_compressed_files_are_refused(tmp_path: Path, pack: Any, name: str) -> None:
    path = tfrecord(tmp_path / "train.tfrecord", records())
    path.write_bytes(pack(path.read_bytes()))
    with pytest.raises(BadInput, match=f"is compressed with {name}, .*TFRecordOptions"):
        opened(tmp_path)


def test_damage(tmp_path: Path) -> None:
    path = tfrecord(tmp_path / "train.tfrecord", records())
    whole = path.read_bytes()
    at = whole.index(IMAGES[2])
    damaged = bytearray(whole)
    damaged[at + 5] ^= 1
    path.write_bytes(damaged)
    found = opened(tmp_path)
    assert len(found.damage) == 1
    assert "train.tfrecord: the data of a record are damaged: their CRC differs (at byte " in found.damage[0]
    assert contents(found) == IMAGES[:2] + IMAGES[3:]

    starts = [whole.index(struct.pack("<Q", len(record))) for record in records()]
    damaged = bytearray(whole)
    damaged[starts[3]] ^= 1
    path.write_bytes(damaged)
    found = opened(tmp_path)
    assert f"what follows is lost (at byte {starts[3]:,})" in found.damage[0]
    assert contents(found) == IMAGES[:3]

    for length, why in [
        (len(whole) - 3, "cut off: 3 bytes of a record are missing"),
        (starts[5] + 7, "cut off in the head"),
    ]:
        path.write_bytes(whole[:length])
        found = opened(tmp_path)
        assert why in found.damage[0]
        assert contents(found) == IMAGES[:5]


@pytest.mark.parametrize(("content", "why"), [(b"", "the file is empty"), (b"no such file at all", "no TFRecord file")])
def test_files_of_other_kinds(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "train.tfrecord").write_bytes(content)
    with pytest.raises(BadInput, match=f"have no images; train.tfrecord: {why}"):
        opened(tmp_path)


def test_names_of_files(tmp_path: Path) -> None:
    for name in ("flowers-train.tfrecord-00000-of-00002", "flowers-train.tfrecord-00001-of-00002", "README.md"):
        (tmp_path / name).touch()
    (tmp_path / "val.tfrecords").touch()
    assert layout_of(str(tmp_path), "train") == "tfrecord"
    names = [Path(path).name for path in shards_of(str(tmp_path), "train", "tfrecord")]
    assert names == ["flowers-train.tfrecord-00000-of-00002", "flowers-train.tfrecord-00001-of-00002"]
    for split in ("val", "val.tfrecords", "v*"):
        assert [Path(path).name for path in shards_of(str(tmp_path), split, "tfrecord")] == ["val.tfrecords"]
    with pytest.raises(BadInput, match="train_split: no tfrecord matches test in data_dir"):
        shards_of(str(tmp_path), "test", "tfrecord")


def test_known_sums() -> None:
    """From RFC 3720, B.4, and the usual check value."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


@given(st.binary(max_size=700))
@settings(max_examples=100, deadline=None)
def test_sums_of_short_texts(content: bytes) -> None:
    assert crc32c(content) == record_files.crc32c(content)


def test_sums_of_long_texts() -> None:
    for length in (4095, 4096, 4097, 100_003):
        content = random.Random(length).randbytes(length)
        assert crc32c(memoryview(content)) == record_files.crc32c(content)


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        for feature in features_of(content, 0, len(content)).values():
            integers_of(content, feature)
            assert 0 <= feature.begin <= feature.end <= len(content)
    except ValueError:
        pass
