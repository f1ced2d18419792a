"""TFRecord files that TensorFlow writes are read without it; and the tests' own writer writes the same bytes."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from helpers.keras.keras_tools import needs_tensorflow, own_environment
from helpers.training.record_files import example, tfrecord
from helpers.training.shards import data

from gputrain.engine.common.errors import BadInput
from gputrain.engine.datasets.shards import shard_split

pytestmark = needs_tensorflow
__all__ = ["own_environment"]

CONTENT = [bytes(range(256)) * (number * 37 + 1) for number in range(5)]


def serialized(image: bytes, label: int, text: str) -> bytes:
    import tensorflow as tf

    features = {
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "image/class/text": tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()])),
        "image/object/bbox/xmin": tf.train.Feature(float_list=tf.train.FloatList(value=[0.25, 0.5])),
    }
    found: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)
    return found


def written(path: Path, compression: str = "") -> Path:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type=compression)) as writer:
        for number, content in enumerate(CONTENT):
            writer.write(serialized(content, number % 3, f"name {number % 2}"))
    return path


@pytest.mark.parametrize(("keys", "classes"), [({}, "01201"), ({"label_key": "image/class/text"}, "01010")])
def test_files_of_tensorflow(tmp_path: Path, keys: dict[str, Any], classes: str) -> None:
    written(tmp_path / "train-00000-of-00001")
    found = shard_split.open_split(data(tmp_path, "tfrecord", **keys), "train")
    assert [found.images.read(at) for at in range(5)] == CONTENT
    assert [found.classes[label][-1] for label in found.labels] == list(classes)
    assert not found.damage


@pytest.mark.parametrize("compression", ["GZIP", "ZLIB"])
def test_compressed_files_of_tensorflow_are_refused(tmp_path: Path, compression: str) -> None:
    written(tmp_path / "train.tfrecord", compression)
    with pytest.raises(BadInput, match=f"is compressed with {compression}"):
        shard_split.open_split(data(tmp_path, "tfrecord"), "train")


def test_our_files_are_those_of_tensorflow(tmp_path: Path) -> None:
    import tensorflow as tf

    records = [example({"image/encoded": content, "image/class/label": 300}) for content in CONTENT]
    path = tfrecord(tmp_path / "train.tfrecord", records)
    assert [bytes(one.numpy()) for one in tf.data.TFRecordDataset(str(path))] == records
    parsed = tf.train.Example.FromString(records[1])
    assert parsed.SerializeToString(deterministic=True) == records[1]
    assert parsed.features.feature["image/class/label"].int64_list.value == [300]
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for record in records:
            writer.write(record)
    assert (tmp_path / "theirs").read_bytes() == path.read_bytes()
    assert gzip.decompress(written(tmp_path / "packed", "GZIP").read_bytes()) == written(tmp_path / "raw").read_bytes()
