"""System check of the storage: kind of the data's disk, measured read rate, free space."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from gputrain.engine.check.findings import Line
from gputrain.engine.check.random_reads import measure_random_reads, random_reads_line
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import GIB, MIB, size
from gputrain.engine.monitor.disk import DataPlace, find_place

Kind = Literal["nvme", "ssd", "hdd", "virtual disk", "network", "memory", "unknown"]

READERS = 4
"""Files that are read in parallel, as by data workers."""
_SECONDS = 2.0
"""Longest time for reading."""
_LOOK_SECONDS = 2.0
"""Longest time for listing files."""
_BYTES = 512 * MIB
_FILES = 4000
_CHUNK = 1 << 20
_TIMEOUT = 20.0
"""Timeout in seconds for a path that does not answer (a dead network mount)."""
_LITTLE_SPACE = 5 * GIB
"""Space for a few checkpoints and a cache."""
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "lustre", "ceph", "glusterfs", "beegfs", "gpfs", "9p", "afs", "virtiofs"}
)
_FEW_MB = 20e6
"""Bytes per second below which the disk limits nearly any training from files (about 200 photographs per second)."""


class StorageFacts(Struct, frozen=True, kw_only=True):
    """The storage of a path and its read rate."""

    path: str
    device: str
    filesystem: str
    kind: Kind
    free: int | None
    """Bytes that this user may still write there."""
    files: int = 0
    """Files read for the measurement."""
    read_rate: float | None = None
    """Bytes per second over `READERS` parallel files; None: not measured."""
    from_disk: float | None = None
    """Share of these bytes that came from the device, not from the page cache; None: the kernel does not report it."""
    random_rate: float | None = None
    """Bytes per second of single images at random places of shards, as many readers; None without shards."""
    error: str = ""


def measure_storage(path: Path) -> StorageFacts:
    """Examine `path` and read files below it for up to `_SECONDS`. A dead mount costs `_TIMEOUT` seconds."""
    found: list[StorageFacts] = []
    thread = threading.Thread(target=lambda: found.append(_measure(path)), name="storage", daemon=True)
    thread.start()
    thread.join(_TIMEOUT)
    # A thread that hangs in the kernel can't be ended; as a daemon it doesn't keep the process alive.
    return found[0] if found else _unanswered(path)


def _unanswered(path: Path) -> StorageFacts:
    error = f"no answer in {_TIMEOUT:g} s: is it on a network file system whose server is down?"
    return StorageFacts(path=plain(str(path), 300), device="", filesystem="", kind="unknown", free=None, error=error)


def _measure(path: Path) -> StorageFacts:
    place = find_place(path)
    try:
        status = os.statvfs(_existing(path))
        free: int | None = status.f_bavail * status.f_frsize
        error = ""
    except OSError as fault:
        free, error = None, fault.strerror or str(fault)
    facts = StorageFacts(
        path=plain(str(path), 300),
        device=place.device if place else "",
        filesystem=place.filesystem if place else "",
        kind=kind_of(place) if place else "unknown",
        free=free,
        error=error,
    )
    if not path.exists():
        return facts
    sample = _sample(path)
    files, total, seconds, disk = _read(sample)
    if not total or seconds <= 0:
        return facts
    counted = disk or place is None or place.counts_reads
    from_disk = min(1.0, disk / total) if disk is not None and counted else None
    return msgspec.structs.replace(
        facts,
        read_rate=total / seconds,
        from_disk=from_disk,
        files=files,
        random_rate=measure_random_reads(sample, READERS),
    )


def _existing(path: Path) -> Path:
    return next((folder for folder in (path, *path.absolute().parents) if folder.exists()), Path("/"))


def kind_of(place: DataPlace, sys: Path = Path("/sys")) -> Kind:
    """The kind of storage that holds the data."""
    if not place.block:
        if place.filesystem in _NETWORK or place.filesystem.startswith("fuse.") or ":/" in place.device:
            return "network"
        return "memory" if place.filesystem in ("tmpfs", "ramfs") else "unknown"
    if place.device.startswith("nvme"):
        return "nvme"
    if place.device.startswith(("vd", "xvd")):
        # Their rotational flag is the hypervisor's default, not the disk's.
        return "virtual disk"
    try:
        rotates = (sys / "block" / place.device / "queue" / "rotational").read_text().strip() == "1"
    except OSError:
        return "unknown"
    return "hdd" if rotates else "ssd"


def _sample(path: Path) -> list[Path]:
    """A sample of the files below `path`, spread evenly over those that are listed in time."""
    if path.is_file():
        return [path]
    deadline = time.monotonic() + _LOOK_SECONDS
    found: list[Path] = []
    for file in _walk(path):
        found.append(file)
        if len(found) >= 10 * _FILES or time.monotonic() > deadline:
            break
    step = max(1, len(found) // _FILES)
    return found[::step]


def _walk(path: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(path):
        for name in names:
            yield Path(folder, name)


def _read(files: list[Path]) -> tuple[int, int, float, int | None]:
    """Read files for up to `_SECONDS`; returns their number, bytes, seconds, and the bytes read from a device."""
    for file in files:
        _forget(file)
    began, before = time.perf_counter(), _device_bytes()
    deadline = began + _SECONDS
    total = count = 0
    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(files), READERS):
            read = sum(pool.map(_read_one, files[start : start + READERS], [deadline] * READERS))
            total, count = total + read, count + len(files[start : start + READERS])
            if total >= _BYTES or time.perf_counter() > deadline:
                break
    after = _device_bytes()
    disk = after - before if after is not None and before is not None else None
    return count, total, time.perf_counter() - began, disk


def _forget(file: Path) -> None:
    """Ask the kernel to drop a file from the page cache, so that the device is measured."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return
    try:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def _read_one(file: Path, deadline: float) -> int:
    total = 0
    try:
        with file.open("rb", buffering=0) as source:
            while time.perf_counter() < deadline and (chunk := source.read(_CHUNK)):
                total += len(chunk)
    except OSError:
        return total  # unreadable or deleted meanwhile: the bytes read so far count
    return total


def _device_bytes() -> int | None:
    """Bytes that this process has read from block devices so far (``read_bytes`` of proc_pid_io(5))."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("read_bytes:")), None)


def storage_lines(facts: StorageFacts) -> list[Line]:
    """The findings. Pure."""
    if facts.error:
        return [Line("disk", "data path", f"{facts.path}: {facts.error}", "problem")]
    where = " ".join(word for word in (facts.kind, facts.device, facts.filesystem) if word)
    lines = [Line("disk", "data path", f"{facts.path} on {where}")]
    lines.append(_rate_line(facts))
    if facts.random_rate is not None and facts.read_rate:
        lines.append(random_reads_line(facts.random_rate, facts.read_rate))
    if facts.free is not None:
        little = facts.free < _LITTLE_SPACE
        text = f"{size(facts.free)} free" + (": too little for a cache and checkpoints" if little else "")
        lines.append(Line("disk", "space", text, "note" if little else "ok"))
    return lines


def _rate_line(facts: StorageFacts) -> Line:
    if facts.read_rate is None:
        return Line("disk", "reading", "not measured: no files at the data path", "note")
    text = f"{facts.read_rate / 1e6:,.0f} MB/s over {facts.files} files, {READERS} in parallel"
    if facts.kind != "network" and facts.from_disk is not None and facts.from_disk < 0.5:
        # Network file systems have no block device, so the share means nothing for them.
        return Line("disk", "reading", f"{text}, {1 - facts.from_disk:.0%} of the bytes from the page cache", "ok")
    if facts.read_rate < _FEW_MB:
        return Line(
            "disk", "reading", f"{text}: slow for training from files; consider cache=disk or cache=ram", "warning"
        )
    if facts.kind == "hdd":
        return Line("disk", "reading", f"{text}: hard disks are slow at small files; consider cache=ram", "note")
    return Line("disk", "reading", text)
