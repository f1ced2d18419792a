"""Processes outside the run that use most CPU or memory.

A machine may have thousands of processes, and reading one takes about 15 µs. So each sample reads a slice of them in
turn, and again those that were busy before: a process that becomes busy is found after one turn at the latest.
"""

from __future__ import annotations

import heapq
import os
import time
from pathlib import Path
from typing import NamedTuple

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import ProcessSample
from gputrain.engine.monitor.processes.process_owners import ProcessOwners

SLICE = 128
"""Processes in the slice of a sample."""
MOST_TOLD = 5
"""Most processes listed in a sample."""
_LEAST = 0.05
"""Cores below which a process is not listed."""
_MOST_WATCHED = 16
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class _Seen(NamedTuple):
    """One reading of a process."""

    started: int
    """Start time in clock ticks since boot; differs when a pid is reused."""
    ticks: int
    at: float
    state: str
    rss: int
    threads: int
    name: str
    """The kernel's name, for processes without a command line."""


class TopProcesses:
    """Finds the busiest and largest foreign processes, sample by sample."""

    def __init__(
        self, owners: ProcessOwners, proc: Path = Path("/proc"), most: int = MOST_TOLD, largest: int = 0
    ) -> None:
        """`most`: processes listed by CPU use; `largest`: processes listed by memory."""
        self._owners = owners
        self._proc = proc
        self._most, self._largest = most, largest
        self._large: set[int] = set()
        self._waiting: list[int] = []
        self._seen: dict[int, _Seen] = {}
        self._cores: dict[int, float] = {}
        """Cores used by the busiest and the largest processes, by pid."""

    def read(self, ours: frozenset[int]) -> tuple[ProcessSample, ...]:
        """Processes outside of `ours`: the busiest since their last reading first, then the largest."""
        if not self._waiting:
            self._waiting = self._all()
            self._seen = {pid: self._seen[pid] for pid in self._waiting if pid in self._seen}
        turn, self._waiting = self._waiting[-SLICE:], self._waiting[:-SLICE]
        for pid in {*turn, *self._cores} - ours:
            self._look(pid)
        if self._largest:
            others = (pid for pid in self._seen if pid not in ours)
            self._large = set(heapq.nlargest(self._largest, others, key=lambda pid: self._seen[pid].rss))
        busiest = sorted(self._cores.items(), key=lambda item: (-item[1], -self._seen[item[0]].rss))
        kept = [pid for pid, cores in busiest if pid not in ours and cores >= _LEAST][: max(_MOST_WATCHED, self._most)]
        listed = kept[: self._most] + [pid for pid, _ in busiest if pid in self._large - set(kept[: self._most])]
        self._cores = {pid: self._cores[pid] for pid in {*kept, *listed}}
        return tuple(self._sample(pid, self._cores[pid]) for pid in listed)

    def _all(self) -> list[int]:
        try:
            return [int(name) for name in os.listdir(self._proc) if name.isdigit()]  # noqa: PTH208 - of thousands
        except OSError:
            return []

    def _look(self, pid: int) -> None:
        now, before = self._stat(pid), self._seen.pop(pid, None)
        self._cores.pop(pid, None)
        if now is None:
            return
        self._seen[pid] = now
        if before is None or before.started != now.started or now.at <= before.at:
            return
        cores = (now.ticks - before.ticks) * _TICK / (now.at - before.at)
        if cores >= _LEAST or pid in self._large:
            self._cores[pid] = cores

    def _stat(self, pid: int) -> _Seen | None:
        try:
            handle = os.open(f"{self._proc}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None  # ended, or hidden from this user
        try:
            # Fields of proc_pid_stat(5), of which the third is the first here.
            head, _, tail = os.read(handle, 1024).rpartition(b") ")
            fields = tail.split()
        except OSError:
            return None
        finally:
            os.close(handle)
        if len(fields) < 22:
            return None
        return _Seen(
            started=int(fields[19]),
            ticks=int(fields[11]) + int(fields[12]),
            at=time.monotonic(),
            state=fields[0].decode(),
            rss=int(fields[21]) * _PAGE,
            threads=int(fields[17]),
            name=plain(head.partition(b"(")[2].decode("utf-8", "replace"), 20),
        )

    def _sample(self, pid: int, cores: float) -> ProcessSample:
        seen = self._seen[pid]
        return ProcessSample(
            pid=pid,
            name=self._owners.name(pid) or f"[{seen.name}]",
            cpu=round(cores, 2),
            rss=seen.rss,
            threads=seen.threads,
            state=seen.state,
            user=self._owners.user(pid),
        )
