"""Names of shards: braces, globs, folders, prefixes, and the errors that name what is there instead."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gputrain.engine.common.errors import BadInput
from gputrain.engine.datasets.shards.shard_patterns import expand_braces, has_shards, shards_of


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(folder: Path, split: str, dataset: str = "webdataset") -> list[str]:
    return [str(Path(path).relative_to(folder)) for path in shards_of(str(folder), split, dataset)]


@pytest.mark.parametrize(
    "pattern", ["t-{000..012}.tar", "t-{8..11}.tar", "{a,b}-{1..2}.tar", "t-{03..01}.tar", "plain.tar", "{one}.tar"]
)
def test_braces_expand_as_in_bash(pattern: str) -> None:
    shell = subprocess.run(["bash", "-c", f"echo {pattern}"], capture_output=True, text=True, check=True)
    assert list(expand_braces(pattern)) == shell.stdout.split()


def test_a_split_is_a_pattern_a_folder_or_a_prefix(tmp_path: Path) -> None:
    home = touched(
        tmp_path, "train-000000.tar", "train-000001.tar", "val/b.tar", "val/a.tar", "val/.c.tar", "other.txt"
    )
    assert found(home, "train-{000000..000001}.tar") == ["train-000000.tar", "train-000001.tar"]
    assert found(home, "train-*.tar") == found(home, "train") == ["train-000000.tar", "train-000001.tar"]
    assert found(home, "val") == ["val/a.tar", "val/b.tar"]
    assert found(home, "train-000001.tar::val/a.tar") == ["train-000001.tar", "val/a.tar"]
    assert found(home, str(home / "val" / "[ab].tar")) == ["val/a.tar", "val/b.tar"]


def test_folders_whose_names_look_like_patterns(tmp_path: Path) -> None:
    home = touched(tmp_path / "run {1..2} [x]", "train-0.tar")
    assert found(home, "train-*.tar") == found(home, "train-{0..0}.tar") == found(home, "train") == ["train-0.tar"]


def test_parquet_files_as_on_the_hub(tmp_path: Path) -> None:
    home = touched(tmp_path, "data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "README.md")
    assert len(found(home, "train", "parquet")) == 2
    assert has_shards(home) == "parquet"
    assert has_shards(touched(tmp_path / "b", "x/1.tar")) == "webdataset"
    assert has_shards(touched(tmp_path / "c", "x/1.jpg")) == ""


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("trian", "train_split: no tar matches trian in data_dir .*it has train-0.tar, train-1.tar"),
        ("x-{0..3}.tar", "train_split: no tar matches x-{0..3}.tar in data_dir"),
        ("train-{0..2}.tar", "train_split: the shard .*/train-2.tar does not exist"),
        ("y*.tar", "train_split: no tar matches y\\*.tar"),
        ("train-0.tar::train-*.tar", "train_split: .*/train-0.tar is named twice"),
        ("train-{0..9999999}.tar", "more than 1,000,000 shards"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, split: str, message: str) -> None:
    touched(tmp_path, "train-0.tar", "train-1.tar")
    with pytest.raises(BadInput, match=message):
        shards_of(str(tmp_path), split, "webdataset")


def test_compressed_archives_are_named(tmp_path: Path) -> None:
    touched(tmp_path, "train-0.tar.gz")
    with pytest.raises(BadInput, match=r"train-0.tar.gz is compressed: unpack"):
        shards_of(str(tmp_path), "train", "webdataset")


def test_a_pattern_as_the_data_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"data_dir: .* is no folder; .* train_split=t-\{0..3\}.tar"):
        shards_of(str(tmp_path / "t-{0..3}.tar"), "train", "webdataset")
    with pytest.raises(BadInput, match=r"data_dir: .*nowhere does not exist"):
        shards_of(str(tmp_path / "nowhere"), "train", "webdataset")
    with pytest.raises(BadInput, match="data_dir is not set"):
        shards_of("", "train", "parquet")


def test_numbers_with_a_hash_behind_them(tmp_path: Path) -> None:
    """As older versions of Hugging Face's datasets wrote them, another one for each shard."""
    first, second = "data/train-00000-of-00002-6b5d2d6b7a1c.parquet", "data/train-00001-of-00002-0a1b2c3d4e5f.parquet"
    home = touched(tmp_path, first, second)
    assert found(home, "train", "parquet") == [first, second]
    touched(tmp_path, first.replace("6b5d", "ffff"))
    with pytest.raises(BadInput, match=r"-6b5d2d6b7a1c.parquet and .*-ffff2d6b7a1c.parquet have the same number"):
        found(home, "train", "parquet")
    (tmp_path / first).unlink()
    (tmp_path / first.replace("6b5d", "ffff")).unlink()
    with pytest.raises(BadInput, match=r"1 of the 2 shards .*: train_split='data/train-\*-of-00002-\*.parquet'$"):
        found(home, "train", "parquet")
    assert found(home, "data/train-*-of-00002-*.parquet", "parquet") == [second]
