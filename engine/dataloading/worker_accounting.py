"""Accounting of data workers: busy time, CPU time, run delay, reads, cache hits; a few microseconds per batch."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import TypeVar

from gputrain.engine.events import LoaderStats

_SCHEDSTAT = "/proc/thread-self/schedstat"
_IO = "/proc/thread-self/io"

BUSY_THREADS: set[int] = set()
"""Threads of this process (the kernel's numbers) that are filling a batch now; idle workers are not in it."""

_T = TypeVar("_T", int, float)


@dataclass(slots=True)
class WorkerTally:
    """Sums over some batches. Times are in seconds; None: not measured by this kernel."""

    samples: int = 0
    busy: float = 0.0
    """Wall time spent on batches, without waiting for a slot."""
    cpu: float = 0.0
    run_delay: float | None = 0.0
    """Time in which the worker was runnable but had no core."""
    read: float | None = 0.0
    """Time spent reading files; None where some were read through a memory map, page by page.

    For user code that does not report its reads: busy time without CPU time and run delay; waits for locks included.
    """
    bytes_read: int = 0
    disk_bytes: int | None = 0
    download_wait: float = 0.0
    """Time spent waiting for remote shards; part of `read`."""
    downloaded: int = 0
    """Bytes that came from a store of remote shards."""
    cached: int = 0
    """Samples whose image came from the cache."""
    repaired: int = 0
    """Images that were damaged in the cache and were encoded again from their files."""
    slowest: float = 0.0
    """Wall time of the slowest sample, and its index."""
    slowest_index: int = -1
    thread: int = 0
    """The kernel's number of the thread that filled the newest batch; 0: none yet."""

    def add(self, other: WorkerTally) -> None:
        """Add `other`; a value that one of both could not measure becomes None."""
        self.samples += other.samples
        self.busy += other.busy
        self.cpu += other.cpu
        self.run_delay = _sum(self.run_delay, other.run_delay)
        self.read = _sum(self.read, other.read)
        self.bytes_read += other.bytes_read
        self.download_wait += other.download_wait
        self.downloaded += other.downloaded
        self.cached += other.cached
        self.repaired += other.repaired
        self.disk_bytes = _sum(self.disk_bytes, other.disk_bytes)
        if other.slowest > self.slowest:
            self.slowest, self.slowest_index = other.slowest, other.slowest_index


def _sum(first: _T | None, second: _T | None) -> _T | None:
    return None if first is None or second is None else first + second


def loader_stats(
    tally: WorkerTally,
    *,
    workers: int,
    kind: str,
    seconds: float,
    lock_share: float | None,
    slowest_image: str,
    remote: bool = False,
) -> LoaderStats:
    """`tally` as shares of the time that `workers` had in `seconds`; `remote`: of a data set in an object store."""
    worked = tally.busy or None
    return LoaderStats(
        workers=workers,
        kind=kind,
        seconds=seconds,
        samples=tally.samples,
        busy=min(1.0, tally.busy / (workers * seconds)) if seconds > 0 else None,
        cpu_ratio=tally.cpu / worked if worked else None,
        run_delay=min(1.0, tally.run_delay / worked) if worked and tally.run_delay is not None else None,
        read_share=tally.read / worked if worked and tally.read is not None else None,
        bytes_read=tally.bytes_read,
        disk_bytes=tally.disk_bytes,
        lock_share=lock_share,
        download_share=min(1.0, tally.download_wait / worked) if remote and worked else None,
        downloaded=tally.downloaded if remote else None,
        slowest=tally.slowest if tally.samples else None,
        slowest_image=slowest_image,
    )


class BatchAccounting:
    """The accounting of one worker; created, used and closed by the worker's thread.

    The kernel's counters are per thread, so that they exclude the training loop's reads and waits.
    """

    def __init__(self, *, reports_reads: bool = True) -> None:
        """`reports_reads`: reads are reported with `read`; otherwise bytes and read time come from the kernel."""
        self._reports_reads = reports_reads
        self._schedstat = _open(_SCHEDSTAT)
        self._io = _open(_IO)
        self._thread = threading.get_native_id()
        self._wall = self._cpu = self._sample_began = 0.0
        self._delay: tuple[int, int] | None = None
        self._bytes: tuple[int, int] | None = None
        self._tally = WorkerTally()

    def begin(self) -> None:
        """A batch begins."""
        BUSY_THREADS.add(self._thread)
        self._tally = WorkerTally()
        self._delay, self._bytes = self._run_delay(), self._bytes_read()
        self._cpu, self._wall = time.thread_time(), time.perf_counter()
        self._sample_began = self._wall

    def made(self, index: int) -> None:
        """The sample of image `index` is complete."""
        now = time.perf_counter()
        if now - self._sample_began > self._tally.slowest:
            self._tally.slowest, self._tally.slowest_index = now - self._sample_began, index
        self._sample_began = now

    def read(self, seconds: float, size: int) -> None:
        """A file of `size` bytes was read in `seconds`."""
        self._tally.read = _sum(self._tally.read, seconds)
        self._tally.bytes_read += size

    def downloaded(self, seconds: float, size: int) -> None:
        """A remote shard was waited for `seconds`, and `size` bytes came; the time is part of a `read`."""
        self._tally.download_wait += seconds
        self._tally.downloaded += size

    def mapped(self, size: int) -> None:
        """`size` bytes are used through a memory map, for which the time spent waiting for the disk is unknown."""
        self._tally.read = None
        self._tally.bytes_read += size

    def hit(self) -> None:
        """An image was found in the cache."""
        self._tally.cached += 1

    def repaired(self) -> None:
        """An image was damaged in the cache, and is encoded again."""
        self._tally.repaired += 1

    def end(self, samples: int) -> WorkerTally:
        """The batch of `samples` is complete; returns its tally."""
        BUSY_THREADS.discard(self._thread)
        tally = self._tally
        tally.samples, tally.thread = samples, self._thread
        tally.busy = time.perf_counter() - self._wall
        tally.cpu = time.thread_time() - self._cpu
        delay, read = self._run_delay(), self._bytes_read()
        # A run time of 0 means that this kernel does not keep the count.
        if delay is None or self._delay is None or delay[0] == 0:
            tally.run_delay = None
        else:
            tally.run_delay = (delay[1] - self._delay[1]) * 1e-9
        tally.disk_bytes = None if read is None or self._bytes is None else read[1] - self._bytes[1]
        if not self._reports_reads:
            tally.bytes_read = 0 if read is None or self._bytes is None else read[0] - self._bytes[0]
            wanted = None if tally.run_delay is None else tally.cpu + tally.run_delay
            tally.read = None if wanted is None else max(0.0, tally.busy - wanted)
        return tally

    def close(self) -> None:
        """Close the kernel's files."""
        for handle in (self._schedstat, self._io):
            if handle is not None:
                os.close(handle)
        self._schedstat = self._io = None

    def _run_delay(self) -> tuple[int, int] | None:
        """Nanoseconds that this thread has run, and that it was runnable without a core, so far."""
        if self._schedstat is None:
            return None
        fields = os.pread(self._schedstat, 128, 0).split()
        return (int(fields[0]), int(fields[1])) if len(fields) == 3 else None

    def _bytes_read(self) -> tuple[int, int] | None:
        """Bytes that this thread has read so far, and how many of them came from a disk."""
        if self._io is None:
            return None
        counted = dict(line.split(b": ", 1) for line in os.pread(self._io, 512, 0).splitlines())
        return (int(counted[b"rchar"]), int(counted[b"read_bytes"])) if b"read_bytes" in counted else None


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        # Absent without CONFIG_SCHEDSTATS, hidden in some containers: the value is then unknown (None).
        return None
