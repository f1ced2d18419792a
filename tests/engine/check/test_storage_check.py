"""System check of the storage, on real files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from gputrain.engine.check import storage_check
from gputrain.engine.check.findings import Level
from gputrain.engine.check.random_reads import LEAST_SHARD, random_reads_line
from gputrain.engine.check.storage_check import Kind, StorageFacts, kind_of, measure_storage, storage_lines
from gputrain.engine.common.units import GIB, MIB
from gputrain.engine.monitor.disk import DataPlace


def test_read_rate_of_files(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"class{number % 2}").mkdir(exist_ok=True)
        (tmp_path / f"class{number % 2}" / f"{number}.jpg").write_bytes(os.urandom(50_000))
    facts = measure_storage(tmp_path)
    assert facts.files == 40
    assert facts.read_rate is not None
    assert facts.read_rate > 0
    assert facts.free is not None
    assert facts.filesystem
    titles = [line.title for line in storage_lines(facts)]
    assert titles == ["data path", "reading", "space"]


def test_random_reads_of_shards(tmp_path: Path) -> None:
    (tmp_path / "small.tar").write_bytes(os.urandom(LEAST_SHARD - 1))
    assert measure_storage(tmp_path).random_rate is None
    (tmp_path / "shard.tar").write_bytes(os.urandom(LEAST_SHARD))
    facts = measure_storage(tmp_path)
    assert facts.random_rate is not None
    assert facts.random_rate > 0
    assert "random reads" in [line.title for line in storage_lines(facts)]


@pytest.mark.parametrize(("random", "order", "level"), [(9e6, "shards", "note"), (140e6, "global", "ok")])
def test_the_order_that_suits_the_storage(random: float, order: str, level: Level) -> None:
    line = random_reads_line(random, 150e6)
    assert f"shuffle={order} suits" in line.text
    assert line.level == level


def test_read_rate_is_not_measured_without_files(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "not" / "there"):
        facts = measure_storage(path)
        assert (facts.read_rate, facts.files) == (None, 0)
        assert facts.free is not None
        reading = next(line for line in storage_lines(facts) if line.title == "reading")
        assert reading.level == "note"
        assert "not measured" in reading.text


def test_unreadable_files_and_dangling_links_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"x" * 1000)
    facts = measure_storage(tmp_path)
    assert facts.read_rate is not None
    assert facts.error == ""


@pytest.mark.parametrize(
    ("device", "filesystem", "block", "rotational", "kind"),
    [
        ("nvme0n1", "ext4", True, "0", "nvme"),
        ("sda", "xfs", True, "0", "ssd"),
        ("sda", "xfs", True, "1", "hdd"),
        ("vda", "ext4", True, "1", "virtual disk"),
        ("sdb", "xfs", True, None, "unknown"),
        ("server:/export", "nfs4", False, None, "network"),
        ("10.0.0.1@tcp:/fs", "lustre", False, None, "network"),
        ("bucket", "fuse.s3fs", False, None, "network"),
        ("tmpfs", "tmpfs", False, None, "memory"),
        ("overlay", "overlay", False, None, "unknown"),
    ],
)
def test_storage_kind(
    tmp_path: Path, device: str, filesystem: str, block: bool, rotational: str | None, kind: Kind
) -> None:
    if rotational is not None:
        queue = tmp_path / "block" / device / "queue"
        queue.mkdir(parents=True)
        (queue / "rotational").write_text(f"{rotational}\n")
    assert kind_of(DataPlace(device, filesystem, block), sys=tmp_path) == kind


@pytest.mark.parametrize(
    ("kind", "rate", "from_disk", "level", "words"),
    [
        ("nvme", 2e9, 1.0, "ok", "2,000 MB/s over 9 files"),
        ("ssd", 15e6, 1.0, "warning", "slow for training"),
        ("ssd", 3e9, 0.1, "ok", "90% of the bytes from the page cache"),
        ("network", 100e6, 0.0, "ok", "100 MB/s"),
        ("hdd", 120e6, 0.9, "note", "hard disk"),
        ("ssd", 200e6, None, "ok", "200 MB/s"),
    ],
)
def test_read_rate_findings(kind: Kind, rate: float, from_disk: float | None, level: Level, words: str) -> None:
    facts = StorageFacts(
        path="/data",
        device="sda",
        filesystem="ext4",
        kind=kind,
        free=100 * GIB,
        files=9,
        read_rate=rate,
        from_disk=from_disk,
    )
    reading = next(line for line in storage_lines(facts) if line.title == "reading")
    assert reading.level == level
    assert words in reading.text


def test_little_space_and_no_answer() -> None:
    facts = StorageFacts(path="/d", device="sda", filesystem="ext4", kind="ssd", free=500 * MIB)
    assert next(line for line in storage_lines(facts) if line.title == "space").level == "note"
    dead = StorageFacts(path="/d", device="", filesystem="", kind="unknown", free=None, error="no answer in 20 s")
    assert [line.level for line in storage_lines(dead)] == ["problem"]


def test_bytes_from_memory_are_not_claimed_where_the_kernel_counts_no_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files in ``/dev/shm`` are read from no device, as files are of which the kernel counts no reads."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        (Path(folder) / "file").write_bytes(bytes(1 << 20))
        assert measure_storage(Path(folder)).from_disk == 0.0
        monkeypatch.setattr(storage_check, "find_place", lambda _: DataPlace("pool", "zfs", block=False))
        facts = measure_storage(Path(folder))
    assert (facts.from_disk, facts.files) == (None, 1)
    assert all("page cache" not in line.text for line in storage_lines(facts))
