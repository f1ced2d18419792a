"""The run's process tree: CPU, memory and reads of all its processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import ProcessSample
from gputrain.engine.monitor.proc_file import ProcFile
from gputrain.engine.monitor.processes.process_owners import command_line
from gputrain.engine.monitor.processes.process_roles import role_of

MOST_FOLLOWED = 512
"""Most processes of a run that are followed."""
MOST_TOLD = 32
"""Most processes listed in a sample."""
_MOST_SCANNED = 8192
"""Most entries of ``/proc`` that are scanned where the kernel has no list of children."""
_DEEPEST = 8
"""Generations below the root for which roles are determined."""
_NEXT_TO_NOTHING = 1 << 20
"""Bytes read per second below which the cache hit share is not computed."""
_PSS_SHARE = 0.001
"""Largest share of a core for reading PSS."""
_LOOKS = 2
"""Number of readings of a process's command; after these only when its name changes."""
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class TreeFigures(Struct, frozen=True, kw_only=True):
    """Use by the run's processes; rates are since the last reading."""

    cpu: float | None = None
    """Cores."""
    rss: int | None = None
    pss: int | None = None
    read_rate: float | None = None
    cache_hit: float | None = None
    processes: tuple[ProcessSample, ...] = ()
    pids: frozenset[int] = frozenset()


class _Process:
    """One process, read from open files."""

    def __init__(self, pid: int, proc: Path) -> None:
        self.pid = pid
        self.parent = 0
        self.command = ""
        """Its command line; a child that was just forked has its parent's until it executes a program."""
        self._proc = proc
        self._named = ("", 0)
        """The kernel's name at the last reading of the command, and the number of readings."""
        self._stat = ProcFile(proc / str(pid) / "stat", 1024)
        self._io = ProcFile(proc / str(pid) / "io", 512)
        self._rollup = proc / str(pid) / "smaps_rollup"
        self._ticks: int | None = None
        self._reaped: int | None = None
        self.reaped = 0
        """Clock ticks of children that ended since the last call."""
        self.counted = 0
        """Clock ticks reported so far, with its ended children's: its parent inherits them when it ends."""
        self._read: tuple[int, int] | None = None
        self.pss: int | None = None
        self.cpu: float | None = None
        self.read: tuple[int, int] | None = None
        """Bytes read since the last call, and how many of them came from a disk."""

    def update(self, seconds: float) -> ProcessSample | None:
        """A sample of the process; None after it has ended."""
        head, _, tail = self._stat.read().rpartition(b") ")
        if not tail:
            return None
        # Fields of proc_pid_stat(5), of which the third is the first here.
        fields = tail.split()
        ticks = int(fields[11]) + int(fields[12])
        self.cpu = (ticks - self._ticks) * _TICK / seconds if self._ticks is not None and seconds > 0 else None
        reaped = int(fields[13]) + int(fields[14])
        self.reaped = 0 if self._reaped is None else reaped - self._reaped
        self.counted += self.reaped + (0 if self._ticks is None else ticks - self._ticks)
        self._ticks, self._reaped = ticks, reaped
        self._update_reads()
        self.parent = int(fields[1])
        name = plain(head.partition(b"(")[2].decode("utf-8", "replace"), 20)
        self._update_command(name)
        return ProcessSample(
            pid=self.pid,
            name=name,
            cpu=None if self.cpu is None else round(self.cpu, 2),
            rss=int(fields[21]) * _PAGE,
            threads=int(fields[17]),
            state=fields[0].decode(),
        )

    def _update_command(self, name: str) -> None:
        before, looks = self._named
        if looks < _LOOKS or before != name:
            self.command, self._named = command_line(self.pid, self._proc), (name, looks + 1)

    def update_pss(self) -> None:
        """Read the PSS, for which the kernel walks over all pages."""
        try:
            lines = self._rollup.read_bytes().splitlines()
        except OSError:
            self.pss = None  # ended, not ours, or a kernel before 4.14
            return
        self.pss = next((int(line.split()[1]) * 1024 for line in lines if line.startswith(b"Pss:")), None)

    def close(self) -> None:
        self._stat.close()
        self._io.close()

    def _update_reads(self) -> None:
        counts = dict(line.split(b": ") for line in self._io.read().splitlines())
        now = (int(counts[b"rchar"]), int(counts[b"read_bytes"])) if counts else None
        before, self._read = self._read, now
        self.read = None if now is None or before is None else (now[0] - before[0], now[1] - before[1])


class ProcessTree:
    """Follows the processes of one run."""

    def __init__(self, roots: Callable[[], Iterable[int]], proc: Path = Path("/proc"), root_role: str = "") -> None:
        """`roots` returns the root pids; they and their descendants are the run.

        `root_role`: the role of the roots in a run of this program; empty for other processes.
        """
        self._roots = roots
        self._root_role = root_role
        self._proc = proc
        self._followed: dict[int, _Process] = {}
        self._scanned_at: tuple[int | None, tuple[int, ...]] | None = None
        self._left = 0
        """Clock ticks already reported of processes that ended since the last reading."""
        self._pss_turn = 0
        self._pss_at = 0.0

    def read(self, seconds: float, forks: int | None) -> TreeFigures:
        """Use over the last `seconds`. `forks`: the host's count of started processes, which shows new ones."""
        roots = tuple(self._roots())
        self._left = 0
        if forks is None or (forks, roots) != self._scanned_at:
            self._follow(_descendants(roots, self._proc))
            self._scanned_at = (forks, roots)
        samples = []
        for process in list(self._followed.values()):
            sample = process.update(seconds)
            if sample is None:
                self._leave(process.pid)
            else:
                samples.append(sample)
        self._update_one_pss()
        return self._sum(samples, seconds)

    def close(self) -> None:
        """Close all files."""
        self._follow([])

    def _follow(self, pids: Iterable[int]) -> None:
        wanted = set(pids)
        for pid in [pid for pid in self._followed if pid not in wanted]:
            self._leave(pid)
        for pid in wanted - self._followed.keys():
            if len(self._followed) < MOST_FOLLOWED:
                self._followed[pid] = _Process(pid, self._proc)

    def _leave(self, pid: int) -> None:
        process = self._followed.pop(pid)
        self._left += process.counted
        process.close()

    def _update_one_pss(self) -> None:
        """Read one process's PSS per sample, in turn; after a large process (10 ms per GiB) wait longer."""
        if not self._followed or time.monotonic() < self._pss_at:
            return
        began = time.thread_time()
        self._pss_turn = (self._pss_turn + 1) % len(self._followed)
        list(self._followed.values())[self._pss_turn].update_pss()
        self._pss_at = time.monotonic() + (time.thread_time() - began) / _PSS_SHARE

    def _sum(self, samples: list[ProcessSample], seconds: float) -> TreeFigures:
        if not samples:
            return TreeFigures()
        cpu = [sample.cpu for sample in samples if sample.cpu is not None]
        pss = [process.pss for process in self._followed.values()]
        read, from_disk = self._reads()
        busiest = sorted(samples, key=lambda sample: (-(sample.cpu or 0.0), sample.pid))
        enough = read is not None and seconds > 0 and read / seconds >= _NEXT_TO_NOTHING
        # Short-lived workers appear in the times that their parents inherit.
        reaped = max(0, sum(process.reaped for process in self._followed.values()) - self._left)
        ended = reaped * _TICK / seconds if seconds > 0 else 0.0
        return TreeFigures(
            cpu=round(sum(cpu) + ended, 3) if cpu else None,
            rss=sum(sample.rss or 0 for sample in samples),
            # A sum without one of them would be too small.
            pss=sum(one for one in pss if one is not None) if None not in pss else None,
            read_rate=round(read / seconds) if read is not None and seconds > 0 else None,
            cache_hit=round(max(0.0, 1 - from_disk / read), 4) if enough and read else None,
            processes=tuple(self._named(sample) for sample in busiest[:MOST_TOLD]),
            pids=frozenset(self._followed),
        )

    def _named(self, sample: ProcessSample) -> ProcessSample:
        """`sample` with its role, else with its command (long commands would bloat the recorded samples)."""
        role = self._role(sample.pid)
        return replace(sample, role=role) if role else replace(sample, name=self._followed[sample.pid].command)

    def _role(self, pid: int, depth: int = 0) -> str:
        process = self._followed.get(pid)
        if not self._root_role or process is None or depth > _DEEPEST:
            return ""
        if process.parent not in self._followed:
            return self._root_role
        return role_of(process.command, self._role(process.parent, depth + 1))

    def _reads(self) -> tuple[int | None, int]:
        reads = [process.read for process in self._followed.values() if process.read is not None]
        return (sum(one[0] for one in reads), sum(one[1] for one in reads)) if reads else (None, 0)


def _descendants(roots: Iterable[int], proc: Path) -> list[int]:
    """`roots` and their descendants, at most `MOST_FOLLOWED` pids."""
    found = dict.fromkeys(roots)
    waiting = list(found)
    children = _children if (proc / "self" / "task").exists() and _lists_children(proc) else _scanned_children(proc)
    while waiting and len(found) < MOST_FOLLOWED:
        for child in children(waiting.pop(), proc):
            if child not in found:
                found[child] = None
                waiting.append(child)
    return list(found)


def _lists_children(proc: Path) -> bool:
    pid = os.getpid()
    return (proc / str(pid) / "task" / str(pid) / "children").exists()


def _children(pid: int, proc: Path) -> Iterator[int]:
    """Children from the kernel's lists (CONFIG_PROC_CHILDREN), one for each thread of the process."""
    tasks = proc / str(pid) / "task"
    try:
        threads = list(tasks.iterdir())
    except OSError:
        return  # ended meanwhile
    for thread in threads:
        try:
            yield from map(int, (thread / "children").read_bytes().split())
        except OSError:
            continue


def _scanned_children(proc: Path) -> Callable[[int, Path], Iterator[int]]:
    """Children from one scan of all processes, for kernels without such lists."""
    parents: dict[int, list[int]] = {}
    entries = (entry for entry in proc.iterdir() if entry.name.isdigit())
    for _, entry in zip(range(_MOST_SCANNED), entries, strict=False):
        try:
            fields = (entry / "stat").read_bytes().rpartition(b") ")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(entry.name))
    return lambda pid, _: iter(parents.get(pid, ()))
