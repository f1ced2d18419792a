"""Disk traffic from ``/proc/diskstats``, and the disk that holds the run's data."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from msgspec import Struct

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import DeviceSample, DiskSample
from gputrain.engine.hardware.mounts import Mount, read_mounts
from gputrain.engine.monitor.proc_file import ProcFile

_SECTOR = 512
"""Bytes of a sector in ``/proc/diskstats``, for every device (Documentation/admin-guide/iostats.rst)."""

MOST_DEVICES = 16
"""Most disks that a sample lists individually."""
_UNCOUNTED = frozenset({"zfs", "fuse", "9p", "virtiofs", "cifs", "smb3", "lustre", "beegfs", "gpfs", "ceph", "afs"})
"""File systems whose reads the kernel does not count for a process (``read_bytes`` of proc_pid_io(5))."""


class DataPlace(Struct, frozen=True):
    """The storage of a path."""

    device: str
    """Name of the block device (``nvme0n1``), or the mount's source without one (``server:/export``)."""
    filesystem: str
    block: bool
    """Whether `device` is in ``/proc/diskstats``."""

    @property
    def counts_reads(self) -> bool:
        """Whether the kernel counts bytes that a process reads from it; if not, a count of 0 means nothing."""
        return self.filesystem not in _UNCOUNTED and not self.filesystem.startswith("fuse.")


class Counters(Struct, frozen=True):
    """One device's counts since boot; times are in milliseconds."""

    reads: int
    read_sectors: int
    read_time: int
    writes: int
    write_sectors: int
    write_time: int
    busy_time: int
    queue_time: int


def find_place(path: Path, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> DataPlace | None:
    """The device of `path`, or of its nearest existing parent. May hang on a dead network mount."""
    path = Path(os.path.realpath(path))
    for folder in (path, *path.parents):
        try:
            number = folder.stat().st_dev
            break
        except OSError:
            continue
    else:
        return None
    mount = _mount_of(folder, read_mounts(proc))
    kind = plain(mount.kind, 20) if mount else ""
    name = _block_name(number, sys)
    if name is None and mount is not None and mount.source.startswith("/dev/"):
        # btrfs and others use their own device numbers.
        try:
            name = _block_name(Path(mount.source).stat().st_rdev, sys)
        except OSError:
            name = None  # the device is not visible in this container
    if name is not None:
        return DataPlace(name, kind, block=True)
    source = plain(mount.source, 60) if mount and mount.source != "none" else ""
    return DataPlace(source or kind, kind, block=False) if mount else None


def _mount_of(folder: Path, mounts: list[Mount]) -> Mount | None:
    """The mount of `folder`: the one with the longest mount point above it, and of equal ones the last."""
    best: Mount | None = None
    for mount in mounts:
        if folder.is_relative_to(mount.point) and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def _block_name(number: int, sys: Path) -> str | None:
    """The whole disk of a device number; None where there is no such block device."""
    try:
        entry = (sys / "dev" / "block" / f"{os.major(number)}:{os.minor(number)}").resolve(strict=True)
    except OSError:
        return None
    return entry.parent.name if (entry / "partition").exists() else entry.name


class Disks:
    """Reads ``/proc/diskstats``."""

    def __init__(self, data_path: Path | None, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self._file = ProcFile(proc / "diskstats", 1 << 14, in_pages=True)
        self._sys = sys
        self._whole: dict[str, bool] = {}
        self._before: tuple[float, dict[str, Counters]] | None = None
        self._place: DataPlace | None = None
        if data_path is not None:
            # In a thread, because the path may be on a server that does not answer.
            threading.Thread(target=self._find, args=(data_path, proc), name="data-path", daemon=True).start()

    def read(self, now: float) -> DiskSample | None:
        """Rates since the last call; None where the kernel has no disk statistics."""
        counters = _parse(self._file.read())
        if not counters:
            return None
        place = self._place
        named = DiskSample(device=place.device if place else "", filesystem=place.filesystem if place else "")
        before, self._before = self._before, (now, counters)
        if before is None or now <= before[0]:
            return named
        seconds = now - before[0]
        changes = {
            name: _less(counts, before[1][name])
            for name, counts in counters.items()
            if name in before[1] and (self._is_disk(name) or (place is not None and name == place.device))
        }
        total = [one for name, one in changes.items() if self._is_disk(name)]
        data = place.device if place is not None and place.block else ""
        names = sorted(changes, key=lambda name: (name != data, name))
        devices = tuple(_device(name, changes[name], seconds) for name in names[:MOST_DEVICES])
        return _sample(named, total, devices, data, seconds)

    @property
    def counts_reads(self) -> bool:
        """`DataPlace.counts_reads` of the data; True where its place is not known."""
        return self._place is None or self._place.counts_reads

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _find(self, path: Path, proc: Path) -> None:
        with contextlib.suppress(OSError):  # the current folder was removed
            self._place = find_place(path, proc, self._sys)

    def _is_disk(self, name: str) -> bool:
        """Whether `name` is hardware: traffic of partitions, mappings, arrays and loops is counted on their disks."""
        if name not in self._whole:
            self._whole[name] = (self._sys / "block" / name / "device").exists()
        return self._whole[name]


def _parse(content: bytes) -> dict[str, Counters]:
    found = {}
    for line in content.splitlines():
        fields = line.split()
        if len(fields) < 14:
            continue  # partitions before Linux 2.6.25 had fewer
        reads, _, read, read_time, writes, _, written, write_time, _, busy, queue = (int(f) for f in fields[3:14])
        name = fields[2].decode("utf-8", "replace")
        found[name] = Counters(reads, read, read_time, writes, written, write_time, busy, queue)
    return found


def _less(now: Counters, before: Counters) -> Counters:
    """The increase of each count; counts that restarted (the device was replaced) give 0."""
    return Counters(*(max(0, getattr(now, f) - getattr(before, f)) for f in Counters.__struct_fields__))


def _device(name: str, change: Counters, seconds: float) -> DeviceSample:
    return DeviceSample(
        name=plain(name, 40),
        read_rate=round(change.read_sectors * _SECTOR / seconds),
        write_rate=round(change.write_sectors * _SECTOR / seconds),
        read_iops=round(change.reads / seconds, 1),
        write_iops=round(change.writes / seconds, 1),
        busy=round(min(1.0, change.busy_time / 1000 / seconds), 4),
        queue=round(change.queue_time / 1000 / seconds, 3),
        read_latency=round(change.read_time / change.reads / 1000, 6) if change.reads else None,
        write_latency=round(change.write_time / change.writes / 1000, 6) if change.writes else None,
    )


def _sample(
    named: DiskSample, total: list[Counters], devices: tuple[DeviceSample, ...], data: str, seconds: float
) -> DiskSample:
    """The sample; `devices` has the one called `data` first, if it exists."""
    figures: dict[str, float | None] = {}
    if total:
        figures = {
            "read_rate": round(sum(one.read_sectors for one in total) * _SECTOR / seconds),
            "write_rate": round(sum(one.write_sectors for one in total) * _SECTOR / seconds),
            "read_iops": round(sum(one.reads for one in total) / seconds, 1),
            "write_iops": round(sum(one.writes for one in total) / seconds, 1),
        }
    if devices and data == devices[0].name:
        one = devices[0]
        figures |= {
            "device_read_rate": one.read_rate,
            "device_write_rate": one.write_rate,
            "device_busy": one.busy,
            "device_queue": one.queue,
            "device_read_latency": one.read_latency,
            "device_write_latency": one.write_latency,
        }
    return DiskSample(device=named.device, filesystem=named.filesystem, devices=devices, **figures)
