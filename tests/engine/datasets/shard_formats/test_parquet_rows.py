"""Rows of Parquet shards: the same images as pyarrow reads, for every way in which pages are written."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from helpers.training.shards import data, parquet, shard_set
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gputrain.engine.common.errors import BadInput
from gputrain.engine.datasets.shard_formats.parquet_rows import scan_parquet
from gputrain.engine.datasets.shard_formats.shard_scan import ShardScan
from gputrain.engine.datasets.shards import shard_index, shard_split
from gputrain.engine.datasets.shards.sharded_images import ShardedImages, ShardFault

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install -e '.[dev]')")

CODECS = ["none", "snappy", "gzip", "zstd", "lz4", "brotli"]
Row = tuple[bytes | None, int]


def read(*paths: Path, image_key: str = "auto", label_key: str = "auto") -> list[tuple[bytes | None, int]]:
    """All rows, read by index in an order that is not the file's, through a copy as in a worker."""
    shards = shard_set(*paths, dataset="parquet", image_key=image_key, label_key=label_key)
    images = pickle.loads(pickle.dumps(ShardedImages(shard_index.ensure_index(shards), shards.root)))
    found: dict[int, tuple[bytes | None, int]] = {}
    for index in sorted(range(len(images)), key=lambda index: index * 7919 % 101):
        try:
            content = images.read(index)
        except ShardFault as fault:
            content = None if fault.why == "the row has no image" else fault.why.encode()
        found[index] = content, int(images.labels[index])
    return [found[index] for index in range(len(images))]


def rows(count: int, *, repeated: bool = False, nulls: bool = False) -> list[Row]:
    found: list[Row] = []
    for number in range(count):
        content = b"%03d" % (number % 5 if repeated else number) * (50 + number % 40)
        found.append((None if nulls and number % 4 == 1 else content, number % 3))
    return found


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_every_codec_page_and_encoding(tmp_path: Path, codec: str, version: str, dictionary: bool) -> None:
    options: dict[str, Any] = {
        "compression": codec,
        "data_page_version": version,
        "use_dictionary": dictionary,
        "data_page_size": 700,
        "write_batch_size": 3,
        "dictionary_pagesize_limit": 900,
        "row_group_size": 23,
    }
    for number, kind in enumerate(({}, {"repeated": True}, {"nulls": True}, {"repeated": True, "nulls": True})):
        wanted = rows(60, **kind)
        assert read(parquet(tmp_path / f"{number}.parquet", wanted, **options)) == wanted


@given(
    lengths=st.lists(st.none() | st.integers(1, 3000), min_size=1, max_size=30),
    codec=st.sampled_from(["none", "snappy"]),
    group=st.integers(1, 40),
    page=st.integers(1, 5000),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_rows(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int | None], codec: str, group: int, page: int
) -> None:
    wanted: list[Row] = [(None if n is None else bytes([n % 251]) * n, at % 4) for at, n in enumerate(lengths)]
    path = tmp_path_factory.mktemp("p") / "x.parquet"
    parquet(path, wanted, compression=codec, row_group_size=group, data_page_size=page, write_batch_size=2)
    assert read(path) == wanted


@pytest.mark.parametrize("kind", ["binary", "large_binary"])
@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_plain_columns_of_bytes(tmp_path: Path, kind: str, codec: str) -> None:
    import pyarrow.parquet as pq

    wanted = rows(20)
    table = pa.table(
        {
            "jpeg": pa.array([content for content, _ in wanted], getattr(pa, kind)()),
            "thumbnail": pa.array([b"t"] * 20, pa.binary()),
            "cls": pa.array([label for _, label in wanted], pa.int8()),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet", compression=codec)
    assert read(tmp_path / "x.parquet", image_key="jpeg") == wanted
    with pytest.raises(BadInput, match=r"has 2 columns of images; it has jpeg .*; image_key names the column"):
        read(tmp_path / "x.parquet")


def test_class_names_of_the_schema(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for split in ("train", "val"):
        parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet", rows(6), ["cat", "dog", "ant"])
    train = shard_split.open_split(data(tmp_path, "parquet"), "train")
    assert train.classes == ("cat", "dog", "ant")
    assert train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    parquet(tmp_path / "data" / "val-00000-of-00001.parquet", rows(6), ["ant", "cat", "dog"])
    with pytest.raises(BadInput, match=r"val_split: .* name other classes than the training images"):
        shard_split.open_split(data(tmp_path, "parquet"), "val", setting="val_split", classes=train.classes)


def test_texts_and_categories_as_labels(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    names = ["dog", "cat", "dog"]
    for kind in (pa.array(names), pa.array(names).dictionary_encode()):
        pq.write_table(pa.table({"image": pa.array([b"x"] * 3, pa.binary()), "label": kind}), tmp_path / "x.parquet")
        found = scan_parquet(str(tmp_path / "x.parquet"), "auto", "auto", lambda _: None)
        assert [found.names[label] for label in found.labels] == names


def scan(path: Path, image_key: str = "auto", label_key: str = "auto") -> ShardScan:
    return scan_parquet(str(path), image_key, label_key, lambda _: None)


def test_unlabelled_rows_are_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", [(b"x", 0), (b"y", -1)], ["a"])
    with pytest.raises(BadInput, match=r"x.parquet: row 1 has class -1, of 1 in 'label'; unlabelled splits"):
        scan(path)
    with pytest.raises(BadInput, match=r"y.parquet: row 0 has no class in 'label'"):
        scan(parquet(tmp_path / "y.parquet", [(b"x", None)]))


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", rows(3))
    with pytest.raises(BadInput, match=r"has no column 'jpg' of images; it has image .*label .int64"):
        scan(path, image_key="jpg")
    with pytest.raises(BadInput, match=r"has no column 'y'; .* label_key=NAME"):
        scan(path, label_key="y")


@pytest.mark.parametrize("codec", ["none", "snappy"])
def test_damage_is_named_and_other_row_groups_are_used(tmp_path: Path, codec: str) -> None:
    path = parquet(tmp_path / "x.parquet", rows(30), compression=codec, row_group_size=10)
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        chunk = file.metadata.row_group(1).column(0)
        start = min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset)
    content = bytearray(path.read_bytes())
    content[start : start + 8] = b"\xff" * 8
    path.write_bytes(content)
    found = scan(path)
    assert found.labels == [label for _, label in rows(30)[:10] + rows(30)[20:]]
    assert len(found.damage) == 1
    assert found.damage[0].startswith("row group 1 cannot be read")
    path.write_bytes(content[:-1000])
    assert scan(path).damage[0].startswith("no Parquet file, or cut off")
