"""The device of a path, and disk traffic."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gputrain.engine.events import DiskSample
from gputrain.engine.hardware.mounts import parse_mounts
from gputrain.engine.monitor.disk import Disks, find_place


def counters(name: str, *, reads: int = 0, sectors: int = 0, wait: int = 0, busy: int = 0, queue: int = 0) -> str:
    return f"   8       0 {name} {reads} 0 {sectors} {wait} 0 0 0 0 0 {busy} {queue} 0 0 0 0 0 0\n"


class Kernel:
    """Fake ``/proc`` and ``/sys`` with one disk, its partition, and a mapping on it."""

    def __init__(self, root: Path) -> None:
        self.proc, self.sys = root / "proc", root / "sys"
        self.proc.mkdir()
        (self.sys / "block" / "sda" / "device").mkdir(parents=True)
        (self.sys / "block" / "sda" / "sda1").mkdir()
        (self.sys / "block" / "sda" / "sda1" / "partition").write_text("1\n")
        (self.sys / "block" / "dm-0").mkdir()
        (self.sys / "dev" / "block").mkdir(parents=True)
        (self.proc / "self").mkdir()

    def disks(self, text: str) -> None:
        (self.proc / "diskstats").write_text(text)

    def holds(self, folder: Path, target: str, kind: str = "ext4", source: str = "/dev/sda1") -> None:
        """Let the device of `folder` be `target` (a folder below ``/sys/block``), or none."""
        number = folder.stat().st_dev
        if target:
            link = self.sys / "dev" / "block" / f"{os.major(number)}:{os.minor(number)}"
            link.symlink_to(self.sys / "block" / target)
        (self.proc / "self" / "mountinfo").write_text(f"27 1 8:1 / / rw - {kind} {source} rw\n")


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def settled(disks: Disks, now: float) -> DiskSample:
    """A sample after the data's device was found, which happens on a thread."""
    for _ in range(1_000_000):
        sample = disks.read(now)
        assert sample is not None
        if sample.filesystem:
            return sample
    raise AssertionError("the device was not found")


def test_rates_of_all_disks_and_of_the_data_disk(kernel: Kernel, tmp_path: Path) -> None:
    kernel.holds(tmp_path, "sda/sda1")
    kernel.disks(counters("sda") + counters("sda1") + counters("dm-0"))
    disks = Disks(tmp_path, kernel.proc, kernel.sys)
    first = settled(disks, 10.0)
    assert (first.read_rate, first.device, first.filesystem) == (None, "sda", "ext4")
    # Traffic of a partition or mapping is also counted on the disk.
    done = {"reads": 100, "sectors": 8000, "wait": 400, "busy": 500, "queue": 1000}
    kernel.disks(counters("sda", **done) + counters("sda1", **done) + counters("dm-0", **done))
    second = disks.read(12.0)
    assert second is not None
    assert (second.read_rate, second.read_iops) == (8000 * 512 / 2, 50.0)
    assert second.device_read_rate == 8000 * 512 / 2
    assert (second.device_busy, second.device_queue) == (0.25, 0.5)
    assert second.device_read_latency == 0.004
    assert second.device_write_latency is None
    (told,) = second.devices
    assert (told.name, told.read_iops, told.write_iops, told.busy) == ("sda", 50.0, 0.0, 0.25)
    disks.close()


def test_disks_are_listed_with_the_data_disk_first(kernel: Kernel, tmp_path: Path) -> None:
    for name in ("sdb", "sdc"):
        (kernel.sys / "block" / name / "device").mkdir(parents=True)
    kernel.holds(tmp_path, "dm-0")
    names = ("sda", "sda1", "sdb", "sdc", "dm-0")
    kernel.disks("".join(counters(name) for name in names))
    disks = Disks(tmp_path, kernel.proc, kernel.sys)
    settled(disks, 10.0)
    kernel.disks("".join(counters(name, reads=10 * number) for number, name in enumerate(names)))
    sample = disks.read(11.0)
    assert sample is not None
    assert [(one.name, one.read_iops) for one in sample.devices] == [
        ("dm-0", 40.0),
        ("sda", 0.0),
        ("sdb", 20.0),
        ("sdc", 30.0),
    ]
    assert sample.read_iops == 50.0
    disks.close()


def test_network_file_system_has_no_block_device(kernel: Kernel, tmp_path: Path) -> None:
    kernel.holds(tmp_path, "", kind="nfs4", source="server:/export")
    place = find_place(tmp_path / "not" / "yet" / "made", kernel.proc, kernel.sys)
    assert place is not None
    assert (place.device, place.filesystem, place.block) == ("server:/export", "nfs4", False)
    kernel.disks(counters("sda"))
    disks = Disks(tmp_path, kernel.proc, kernel.sys)
    sample = settled(disks, 1.0)
    assert (sample.device, sample.device_read_rate) == ("server:/export", None)


def test_no_disk_statistics_are_none(tmp_path: Path) -> None:
    assert Disks(None, tmp_path, tmp_path).read(1.0) is None


def test_file_system_agrees_with_df(tmp_path: Path) -> None:
    place = find_place(tmp_path)
    assert place is not None
    said = subprocess.run(["df", "--output=fstype", str(tmp_path)], capture_output=True, text=True, check=True)
    assert place.filesystem == said.stdout.split()[-1]
    if place.block:
        assert (Path("/sys/block") / place.device).exists()


def test_mountinfo_with_blanks_and_optional_fields() -> None:
    text = "36 35 98:0 /mnt1 /data\\040set rw shared:1 master:2 - ext3 /dev/root rw,errors=continue\nnonsense\n"
    (mount,) = parse_mounts(text)
    assert (mount.root, mount.point, mount.kind, mount.source) == ("/mnt1", "/data set", "ext3", "/dev/root")
    assert "errors=continue" in mount.options
