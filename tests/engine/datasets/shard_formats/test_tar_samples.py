"""Which file of a sample is its image, and where its label stands."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from helpers.training.shards import samples, tar

from gputrain.engine.common.errors import BadInput
from gputrain.engine.datasets.shard_formats.shard_scan import ShardScan
from gputrain.engine.datasets.shard_formats.tar_samples import scan_tar


def scan(path: Path, image_key: str = "auto", label_key: str = "auto") -> ShardScan:
    return scan_tar(str(path), image_key, label_key, lambda _: None)


def images(path: Path, found: ShardScan) -> list[bytes]:
    content = path.read_bytes()
    return [content[at : at + length] for at, length in zip(found.offsets, found.lengths, strict=True)]


def test_labels_of_cls_files(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", samples(7))
    found = scan(path)
    assert images(path, found) == [content for name, content in samples(7) if name.endswith("jpg")]
    assert found.labels == [0, 1, 2, 0, 1, 2, 0]
    assert not found.damage
    assert not found.skipped


def test_labels_of_json_fields(tmp_path: Path) -> None:
    rows = [{"label": 2, "meta": {"id": 7}}, {"label": 0, "meta": {"id": 5}}]
    files = [
        (f"{n}.{kind}", json.dumps(row).encode() if kind == "json" else b"x")
        for n, row in enumerate(rows)
        for kind in ("json", "png")
    ]
    path = tar(tmp_path / "x.tar", files)
    assert scan(path).labels == [2, 0]
    assert scan(path, label_key="json.meta.id").labels == [7, 5]
    with pytest.raises(BadInput, match=r"x.tar: the sample '0' has no class number or name in the field size"):
        scan(path, label_key="json.size")
    with pytest.raises(BadInput, match=r"has no cls \(it has json, png\); label_key names"):
        scan(path, label_key="cls")


def test_class_names(tmp_path: Path) -> None:
    names = ["cat", "dog", "cat", "ant"]
    files = [
        (f"{n}.{k}", name.encode() if k == "cls" else b"x") for n, name in enumerate(names) for k in ("jpg", "cls")
    ]
    found = scan(tar(tmp_path / "x.tar", files))
    assert [found.names[label] for label in found.labels] == names


def test_several_images_need_a_choice(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", [("a.left.jpg", b"l"), ("a.right.jpg", b"r"), ("a.cls", b"1")])
    with pytest.raises(BadInput, match=r"the sample 'a' has 2 images \(left.jpg, right.jpg\).*image_key=left.jpg"):
        scan(path)
    assert images(path, scan(path, "right.jpg")) == [b"r"]
    assert images(path, scan(path, "x.jpg;LEFT.jpg")) == [b"l"]


def test_samples_without_an_image_are_counted(tmp_path: Path) -> None:
    found = scan(tar(tmp_path / "x.tar", [("a.cls", b"1"), ("b.jpg", b"x"), ("b.cls", b"2"), ("README", b"")]))
    assert found.labels == [2]
    assert found.skipped == {"sample without an image": 1, "file without a key": 1}


@pytest.mark.parametrize("label", [b"-1", b"", b"999999999999", b"a\nb"])
def test_labels_that_are_none(tmp_path: Path, label: bytes) -> None:
    with pytest.raises(BadInput, match=r"x.tar: the sample 'a' has (no class|a class number that is not)"):
        scan(tar(tmp_path / "x.tar", [("a.jpg", b"x"), ("a.cls", label)]))


def test_the_last_sample_of_a_cut_shard_is_left_out(tmp_path: Path) -> None:
    """Its image is whole, and its label is gone."""
    path = tar(tmp_path / "x.tar", samples(4))
    archive = path.read_bytes()
    path.write_bytes(archive[: archive.index(b"000003.cls")])
    found = scan(path)
    assert found.labels == [0, 1, 2]
    assert len(found.damage) == 1


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", samples(4))
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(BadInput, match=r"x.tar is compressed with gzip; unpack it"):
        scan(path)
