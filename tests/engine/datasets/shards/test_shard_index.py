"""The index of shards: built once, found again, renewed with the shards, small, and continued after a kill."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.training.shards import data, samples, shard_set, tar, touch_later
from numpy.lib import format as npy

from gputrain.engine.common.errors import BadInput
from gputrain.engine.datasets.shard_formats import tar_samples
from gputrain.engine.datasets.shard_formats.shard_scan import COLUMNS, ShardScan
from gputrain.engine.datasets.shards import shard_index, shard_split
from gputrain.engine.datasets.shards.sharded_images import ShardedImages, ShardFault


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return [tar(tmp_path / "data" / f"train-{n}.tar", samples(5, 5 * n)) for n in range(4)]


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the shards that are scanned."""
    found: list[str] = []
    real = tar_samples.scan_tar

    def recording(path: str, *rest: object) -> ShardScan:
        found.append(Path(path).name)
        return real(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(tar_samples, "scan_tar", recording)
    return found


def opened(*paths: Path) -> ShardedImages:
    shards = shard_set(*paths)
    return ShardedImages(shard_index.ensure_index(shards), shards.root)


def test_images_by_index(paths: list[Path]) -> None:
    images = opened(*paths)
    assert len(images) == 20
    for index in range(20):
        assert images.read(index) == b"image %06d" % index * 20
        assert images.name(index) == f"train-{index // 5}.tar/{index:06d}.jpg"
        assert images.read(index, 241) == images.read(index)
        with pytest.raises(ShardFault, match="240 bytes, more than the limit of 200"):
            images.read(index, 200)
    assert images.labels.tolist() == [index % 3 for index in range(20)]
    assert images.starts.tolist() == [0, 5, 10, 15, 20]


def test_a_second_opening_scans_nothing(paths: list[Path], scanned: list[str]) -> None:
    opened(*paths)
    assert sorted(scanned) == [path.name for path in paths]
    assert shard_index.find_index(shard_set(*paths)) is not None
    opened(*paths)
    assert len(scanned) == len(paths)


def test_only_a_replaced_shard_is_scanned_again(paths: list[Path], scanned: list[str]) -> None:
    opened(*paths)
    scanned.clear()
    tar(paths[2], samples(9, 100))
    assert shard_index.find_index(shard_set(*paths)) is None
    assert len(opened(*paths)) == 24
    touch_later(paths[1])
    opened(*paths)
    assert scanned == ["train-2.tar", "train-1.tar"]


def test_moved_shards_have_the_same_index(paths: list[Path], scanned: list[str], tmp_path: Path) -> None:
    first = opened(*paths)
    shutil.move(paths[0].parent, tmp_path / "elsewhere")
    moved = opened(*(tmp_path / "elsewhere" / path.name for path in paths))
    assert moved.key == first.key
    assert len(scanned) == len(paths)
    assert moved.read(7) == b"image 000007" * 20


def test_other_keys_have_another_index(paths: list[Path]) -> None:
    first = shard_set(*paths)
    other = shard_set(*paths, label_key="cls")
    assert shard_index.ensure_index(first) != shard_index.ensure_index(other)


def test_a_stopped_scan_continues(paths: list[Path], scanned: list[str]) -> None:
    class Stopped(Exception):  # noqa: N818
        pass

    def stop(count: int) -> None:
        if count:
            raise Stopped

    with pytest.raises(Stopped):
        shard_index.ensure_index(shard_set(*paths), stop)
    first = len(scanned)
    assert first
    assert len(opened(*paths)) == 20
    parts = list((shard_index.home() / "parts").iterdir())
    assert len(parts) == 4, "each shard's part is kept"


def test_a_killed_scan_continues(paths: list[Path], scanned: list[str]) -> None:
    """Killed while it scans the third shard; the parts of the first two are used."""
    code = f"""
import os, signal, sys
from gputrain.engine.datasets.shard_formats import tar_samples
from gputrain.engine.datasets.shards import shard_index
from helpers.training.shards import shard_set
shard_index._THREADS = 1
real = tar_samples.scan_tar
def scan(path, *rest):
    if path.endswith("train-2.tar"):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(path, *rest)
tar_samples.scan_tar = scan
shard_index.ensure_index(shard_set(*{[str(path) for path in paths]!r}))
"""
    tests = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, *sys.path])}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert len(opened(*paths)) == 20
    assert sorted(scanned) == ["train-2.tar", "train-3.tar"]


def test_a_damaged_part_is_scanned_again(paths: list[Path], scanned: list[str]) -> None:
    folder = shard_index.ensure_index(shard_set(*paths))
    shutil.rmtree(folder)
    for part in (shard_index.home() / "parts").iterdir():
        part.write_bytes(part.read_bytes()[:100])
    scanned.clear()
    assert len(opened(*paths)) == 20
    assert len(scanned) == 4


@pytest.mark.parametrize("how", ["overwritten", "renamed over", "removed", "grown"])
def test_a_shard_that_is_replaced_while_it_is_read(paths: list[Path], how: str) -> None:
    images = opened(*paths)
    assert images.read(5) == b"image 000005" * 20
    if how == "renamed over":
        tar(paths[1].with_suffix(".new"), samples(5, 500)).rename(paths[1])
    elif how == "overwritten":
        time.sleep(0.02)  # another modification time, by the granularity of the file system's clock
        paths[1].write_bytes(paths[1].read_bytes().replace(b"image", b"other"))
    elif how == "grown":
        with paths[1].open("ab") as file:
            file.write(b"more")
    else:
        paths[1].unlink()
    for index in (5, 6):
        with pytest.raises((ShardFault, FileNotFoundError), match=r"changed after it was indexed|No such file"):
            images.read(index)
    assert images.read(10) == b"image 000010" * 20, "other shards are read"


def test_a_shard_that_changes_during_its_scan(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    real = tar_samples.scan_tar

    def changing(path: str, *rest: object) -> ShardScan:
        found = real(path, *rest)  # type: ignore[arg-type]
        touch_later(Path(path))
        return found

    monkeypatch.setattr(tar_samples, "scan_tar", changing)
    with pytest.raises(BadInput, match=r"train-\d.tar changed while it was indexed"):
        opened(*paths)


def test_an_entry_takes_20_bytes_and_workers_get_a_path(paths: list[Path]) -> None:
    assert sum(np.dtype(kind).itemsize for kind in COLUMNS.values()) == 20
    images = opened(*paths)
    assert len(pickle.dumps(images)) < 1000
    copy: ShardedImages = pickle.loads(pickle.dumps(images))
    assert copy.read(13) == images.read(13)


def test_ten_million_entries_are_mapped_not_loaded(paths: list[Path]) -> None:
    """Opening them needs less than a hundredth of their size."""
    count = 10_000_000
    folder = shard_index.ensure_index(shard_set(*paths))
    for name, kind in COLUMNS.items():
        with (folder / f"{name}.npy").open("wb") as file:
            npy.write_array_header_1_0(file, {"descr": np.dtype(kind).str, "fortran_order": False, "shape": (count,)})
            file.truncate(file.tell() + count * np.dtype(kind).itemsize)
    code = """
import sys
from pathlib import Path
from gputrain.engine.datasets.shards.sharded_images import ShardedImages
def private():
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_Dirty"))
before = private()
images = ShardedImages(Path(sys.argv[1]), "/")
assert len(images) == 10_000_000 and images.labels[::1000].max() == 0 and images.offsets[::1000].max() == 0
print(private() - before)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", code, folder], env=environment, capture_output=True, text=True, check=True
    )
    assert int(ran.stdout) < 20 * count // 1024 // 100, "kB"


def test_classes_of_numbers_and_names(paths: list[Path], tmp_path: Path) -> None:
    home = paths[0].parent
    split = shard_split.open_split(data(home), "train")
    assert split.classes == ("0", "1", "2")
    (home / "classes.txt").write_text("cat\ndog\nant\n")
    assert shard_split.open_split(data(home), "train").classes == ("cat", "dog", "ant")
    (home / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(BadInput, match="have class 2, but only 2 names"):
        shard_split.open_split(data(home), "train")
    (home / "classes.txt").write_text("cat\ncat\nant\n")
    with pytest.raises(BadInput, match=r"classes.txt: a name for each class"):
        shard_split.open_split(data(home), "train")


def named(path: Path, names: list[str]) -> Path:
    files = [
        (f"{n}.{k}", name.encode() if k == "cls" else b"x") for n, name in enumerate(names) for k in ("jpg", "cls")
    ]
    return tar(path, files)


def test_class_names_are_numbered_over_all_shards(tmp_path: Path) -> None:
    named(tmp_path / "train-0.tar", ["dog", "cat"])
    named(tmp_path / "train-1.tar", ["cat", "ant"])
    named(tmp_path / "val-0.tar", ["dog", "dog"])
    train = shard_split.open_split(data(tmp_path), "train")
    assert (train.classes, train.labels.tolist()) == (("ant", "cat", "dog"), [2, 1, 1, 0])
    val = shard_split.open_split(data(tmp_path), "val", setting="val_split", classes=train.classes)
    assert val.labels.tolist() == [2, 2]
    named(tmp_path / "val-1.tar", ["bat"])
    with pytest.raises(BadInput, match=r"val_split: .* have the class 'bat', which the training images don't have"):
        shard_split.open_split(data(tmp_path), "val", setting="val_split", classes=train.classes)
    tar(tmp_path / "train-2.tar", samples(3))
    with pytest.raises(BadInput, match=r"train-2.tar has class numbers, and other shards have class names"):
        shard_split.open_split(data(tmp_path), "train")


def test_a_class_that_training_does_not_have(paths: list[Path]) -> None:
    tar(paths[0].parent / "val.tar", samples(9, classes=5))
    with pytest.raises(BadInput, match=r"val_split: .* have class 4; the training images have classes 0 to 2"):
        shard_split.open_split(data(paths[0].parent), "val", setting="val_split", classes=("0", "1", "2"))


def test_shards_without_images(tmp_path: Path) -> None:
    (tmp_path / "train.tar").write_bytes(b"")
    with pytest.raises(BadInput, match=r"train_split: .* have no images; train.tar: the file is empty"):
        shard_split.open_split(data(tmp_path), "train")
