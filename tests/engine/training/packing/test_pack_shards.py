"""Packing folders into shards: the same files and labels, verified, continued after a kill, encoded only if asked."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from helpers.training import tiny_cifar
from helpers.training.training_tools import collecting, draw_images, opened, small_config
from PIL import Image

from gputrain.engine.common.errors import BadInput
from gputrain.engine.dataloading.worker_accounting import BatchAccounting
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.datasets.shards import shard_index
from gputrain.engine.datasets.shards.shard_set import ShardSet
from gputrain.engine.jobs.pack_shards import PackedShards, PackOrder
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.training.packing import pack_child, pack_images, shard_writers
from gputrain.engine.training.packing.pack_images import SplitPacker
from gputrain.engine.training.workers.fill_batch import read_image
from gputrain.tui.cli.main import main

FORMATS = pytest.mark.parametrize("form", ["webdataset", "parquet"])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return draw_images(tmp_path / "pictures")


@pytest.fixture(autouse=True)
def needs_pyarrow(request: pytest.FixtureRequest) -> None:
    if "parquet" in request.node.name:
        pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install -e '.[dev]')")


def order(pictures: Path, to: Path, form: str = "webdataset", **changes: Any) -> PackOrder:
    values: dict[str, Any] = {"shard_bytes": 8_000, "keep_order": True, **changes}
    return PackOrder(config=small_config(pictures), to=str(to), format=form, **values)  # type: ignore[arg-type]


def packed(pictures: Path, to: Path, form: str = "webdataset", **changes: Any) -> PackedShards:
    return work(order(pictures, to, form, **changes))


def work(wanted: PackOrder) -> PackedShards:
    """What the child process does, in this one."""
    context = multiprocessing.get_context("spawn")
    outbox = context.Queue()
    child_end, parent_end = context.Pipe(duplex=False)
    with parent_end, child_end, collecting(outbox):
        reporter = EventReporter(outbox)
        return pack_child._work(wanted, reporter, TrainerControl(child_end, reporter), lambda _: None)


def contents(images: ImageSet) -> list[tuple[bytes, int]]:
    meter = BatchAccounting()
    try:
        return [(read_image(images, index, meter), int(images.labels[index])) for index in range(len(images))]
    finally:
        meter.close()


@FORMATS
def test_the_files_are_copied_as_they_are(pictures: Path, tmp_path: Path, form: str) -> None:
    made = packed(pictures, tmp_path / "shards", form)
    assert made.images == 54
    assert made.encoded == 0
    assert made.shards > 4
    source, _ = opened(small_config(pictures))
    copy, _ = opened(small_config(tmp_path / "shards", dataset=form))
    assert copy.train.classes == source.train.classes
    assert contents(copy.train) == contents(source.train)
    assert copy.val is not None
    assert source.val is not None
    assert contents(copy.val) == contents(source.val)
    assert not copy.warnings
    suffix = ".tar" if form == "webdataset" else ".parquet"
    shards = (tmp_path / "shards").glob(f"[tv]*-*{suffix}")
    assert made.bytes == sum(path.stat().st_size for path in shards)


def test_training_images_are_shuffled_and_validation_images_are_not(pictures: Path, tmp_path: Path) -> None:
    packed(pictures, tmp_path / "shards", keep_order=False)
    source, _ = opened(small_config(pictures))
    copy, _ = opened(small_config(tmp_path / "shards", dataset="webdataset"))
    assert sorted(contents(copy.train)) == sorted(contents(source.train))
    assert contents(copy.train) != contents(source.train)
    assert copy.val is not None
    assert copy.val.labels.tolist() == sorted(copy.val.labels.tolist())


@FORMATS
def test_the_index_is_there_afterwards(pictures: Path, tmp_path: Path, form: str) -> None:
    packed(pictures, tmp_path / "shards", form)
    suffix = {"webdataset": "tar", "parquet": "parquet"}[form]
    paths = tuple(map(str, sorted((tmp_path / "shards").glob(f"train-*.{suffix}"))))
    assert shard_index.find_index(ShardSet(form, paths, "auto", "auto")) is not None


@FORMATS
def test_shards_can_be_packed_again(pictures: Path, tmp_path: Path, form: str) -> None:
    """From shards of one format into the other."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install -e '.[dev]')")
    other = {"webdataset": "parquet", "parquet": "webdataset"}[form]
    packed(pictures, tmp_path / "first", other)
    again = msgspec.structs.replace(
        order(pictures, tmp_path / "second", form, shard_bytes=20_000),
        config=small_config(tmp_path / "first", dataset=other),
    )
    assert work(again).images == 54
    copy, _ = opened(small_config(tmp_path / "second", dataset=form))
    source, _ = opened(small_config(pictures))
    assert contents(copy.train) == contents(source.train)


@pytest.mark.long
@FORMATS
def test_a_killed_call_continues_and_gives_the_same_bytes(pictures: Path, tmp_path: Path, form: str) -> None:
    """Killed with a complete shard that is not noted yet, and again in the middle of one."""
    whole = packed(pictures, tmp_path / "whole", form)
    to = tmp_path / "killed"
    for place in ("PackedSplit.write", "SplitPacker._prepare"):
        code = f"""
import os, signal, msgspec
from gputrain.engine.jobs.pack_shards import PackOrder
from gputrain.engine.training.packing import pack_child, pack_images, shard_writers
from helpers.training.training_tools import collecting
import multiprocessing
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
owner, name = "{place}".split(".")
owner = getattr(pack_images, owner)
real, calls = getattr(owner, name), []
def dying(*arguments):
    calls.append(1)
    if len(calls) == {{"write": 4, "_prepare": 20}}[name]:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
setattr(owner, name, dying)
order = msgspec.json.decode({msgspec.json.encode(order(pictures, to, form))!r}, type=PackOrder)
context = multiprocessing.get_context("spawn")
reporter = EventReporter(context.Queue())
ends = context.Pipe()
pack_child._work(order, reporter, TrainerControl(ends[0], reporter), lambda text: None)
"""
        tests = str(Path(__file__).parents[3])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, *sys.path])}
        ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
    made = packed(pictures, to, form)
    assert made.kept >= 2
    assert (made.shards, made.images, made.bytes) == (whole.shards, whole.images, whole.bytes)
    for path in (tmp_path / "whole").glob("[tv]*-*"):
        assert (to / path.name).read_bytes() == path.read_bytes(), path.name
    assert not list(to.glob("*.part"))


def test_other_images_or_options_do_not_continue(pictures: Path, tmp_path: Path) -> None:
    packed(pictures, tmp_path / "shards")
    with pytest.raises(BadInput, match=r"--to: .*shards has shards of other images or options; name an empty folder"):
        packed(pictures, tmp_path / "shards", short_side=32)
    for state in (tmp_path / "shards").glob(".pack-*"):
        state.unlink()
    with pytest.raises(BadInput, match="already has shards of 'train'; name an empty folder"):
        packed(pictures, tmp_path / "shards")


def test_larger_images_are_encoded_if_asked(pictures: Path, tmp_path: Path) -> None:
    large = Image.linear_gradient("L").resize((300, 200)).convert("RGB")
    large.save(pictures / "train" / "across" / "large.jpg", exif=Image.Exif())
    turned = Image.Exif()
    turned[0x0112] = 6
    large.save(pictures / "train" / "across" / "turned.jpg", exif=turned)
    large.save(pictures / "train" / "across" / "png.png")
    made = packed(pictures, tmp_path / "shards", short_side=64, quality=80)
    assert made.encoded == 3
    source, _ = opened(small_config(pictures))
    copy, _ = opened(small_config(tmp_path / "shards", dataset="webdataset"))
    sizes = {}
    for index, (data, _) in enumerate(contents(copy.train)):
        with Image.open(io.BytesIO(data)) as image:
            sizes[Path(source.train.name(index)).name] = image.size
    assert sizes.pop("large.jpg") == (96, 64)
    assert sizes.pop("turned.jpg") == (64, 96)
    assert sizes.pop("png.png") == (96, 64)
    assert set(sizes.values()) == {(48, 48)}


def test_unreadable_files_are_left_out_and_named(pictures: Path, tmp_path: Path) -> None:
    (pictures / "train" / "down" / "3.jpg").write_bytes(b"")
    (pictures / "train" / "down" / "4.jpg").unlink()
    (pictures / "train" / "down" / "4.jpg").symlink_to("nowhere")
    made = packed(pictures, tmp_path / "shards")
    assert made.images == 52
    assert [text.rpartition("/")[2] for text in made.bad] == [
        "3.jpg: not an image of a known format",
        "4.jpg: cannot be read: No such file or directory",
    ]
    config = small_config(pictures, max_bad_images=0)
    limited = PackOrder(config=config, to=str(tmp_path / "b"), format="webdataset", shard_bytes=8000, keep_order=True)
    with pytest.raises(BadInput, match=r"1 images cannot be read, more than max_bad_images \(0\): .*3.jpg"):
        work(limited)


@FORMATS
def test_a_shard_that_reads_back_differently_is_named(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """A disk that changes a byte."""
    images, _ = opened(small_config(pictures))
    real = shard_writers.verify

    def damaged(path: Path, *rest: Any) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 1
        path.write_bytes(content)
        real(path, *rest)

    monkeypatch.setattr(pack_images, "verify", damaged)
    to = tmp_path / "shards"
    to.mkdir()
    with pytest.raises(BadInput, match="what was read back differs from what was written"):
        SplitPacker(images.train, order(pictures, to, form, shard_bytes=1 << 20), "train", 0).run(lambda *_: None)
    assert not list(to.glob("train-*"))


def test_images_in_memory_are_refused(tmp_path: Path) -> None:
    tiny_cifar.write(tmp_path / "cifar")
    config = small_config(tmp_path / "cifar", dataset="cifar10")
    wanted = PackOrder(config=config, to=str(tmp_path / "s"), format="webdataset", shard_bytes=1 << 20)
    with pytest.raises(BadInput, match="not read from image files"):
        work(wanted)


def test_the_command(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = tmp_path / "new" / "shards"
    words = ["pack", "--data", str(pictures), "--to", str(to), "--size", "1M", "num_workers=1"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "54 images in 2 shards" in printed
    assert f"gputrain-tui train --data {to} dataset=webdataset" in printed
    with tarfile.open(to / "train-000000.tar") as archive:
        assert archive.getnames()[:2] == ["000000000.jpg", "000000000.cls"]
    assert (to / "classes.txt").read_text().split() == ["across", "down", "spots"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 2
    assert main(["pack", "--data", str(pictures), "--to", str(pictures)]) == 2
    assert "--to: the folder of the data itself" in capsys.readouterr().err
