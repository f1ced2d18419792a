"""System check of random reads: how fast single images of shards can be read in any order, beside whole shards."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gputrain.engine.check.findings import Line
from gputrain.engine.common.units import MIB

LEAST_SHARD = 4 * MIB
"""Smaller files are single images, whose reads are random anyway."""
_IMAGE = 128 << 10
"""Bytes of a read: about a photograph."""
_SECONDS = 1.0
_READS = 2000
_ENOUGH = 0.5
"""Share of the sequential rate from which random reads are fast: shuffle=global then needs at most twice the time."""


def measure_random_reads(files: Sequence[Path], readers: int) -> float | None:
    """Bytes per second of `readers` threads that read images at random places of shards; None without shards."""
    shards = [(path, size) for path in files if (size := _size(path)) >= LEAST_SHARD]
    if not shards:
        return None
    draw = random.Random(0)  # noqa: S311 - places to read, no secret
    places: list[tuple[Path, int]] = []
    for _ in range(_READS):
        path, size = draw.choice(shards)
        places.append((path, draw.randrange(size - _IMAGE)))
    began = time.perf_counter()
    deadline = began + _SECONDS

    def read(place: tuple[Path, int]) -> int:
        return _read(place[0], place[1], deadline)

    with ThreadPoolExecutor(readers) as pool:
        total = sum(pool.map(read, places))
    return total / (time.perf_counter() - began)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _read(path: Path, offset: int, deadline: float) -> int:
    if time.perf_counter() > deadline:
        return 0
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            # What the sequential measurement left in the page cache would hide the disk.
            os.posix_fadvise(handle, offset, _IMAGE, os.POSIX_FADV_DONTNEED)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_RANDOM)
            return len(os.pread(handle, _IMAGE, offset))
        finally:
            os.close(handle)
    except OSError:
        return 0  # deleted meanwhile


def random_reads_line(random_rate: float, sequential_rate: float) -> Line:
    """The finding: which order of shards suits the storage. Pure."""
    share = random_rate / sequential_rate if sequential_rate > 0 else 1.0
    text = f"single images of the shards {random_rate / 1e6:,.0f} MB/s, whole shards {sequential_rate / 1e6:,.0f} MB/s"
    if share >= _ENOUGH:
        return Line("disk", "random reads", f"{text}: shuffle=global suits this storage")
    return Line("disk", "random reads", f"{text}: shuffle=shards suits this storage", "note")
