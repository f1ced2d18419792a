"""The accounting inside a DataLoader's worker: a page of its own, and the time of each batch by cause.

The fetcher's `fetch` makes a batch in a worker process, or in the training process where there are no workers. A worker
that was forked has these hooks from its parent; one that was spawned imports them again.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from . import layout
from .page import Page, Probe, hide_frame
from .random_draws import RandomDraws

clock = time.monotonic
_WORKING_SINCE = layout.WORKING_SINCE
_IO_SECONDS = 0.05
"""Bytes are read off no more often: it costs as much as all the rest of a batch's accounting."""
_DETAIL_SECONDS = 0.005
"""CPU time and run delay are system calls: of short batches one in so much time stands for those before it."""


class _Counters:
    """The kernel's counters of this thread: files that stay open, as opening them again costs ten times more."""

    def __init__(self) -> None:
        self._sched = _open("/proc/thread-self/schedstat")
        self._io = _open("/proc/thread-self/io")
        self._read_at = 0.0
        self._read = self.io()

    def __del__(self) -> None:
        """Close the files when the thread has ended."""
        try:
            for handle in (self._sched, self._io):
                if handle >= 0:
                    os.close(handle)
        except Exception:  # noqa: BLE001, S110 - the interpreter ends
            pass

    @property
    def counts_bytes(self) -> bool:
        """Whether this kernel counts them."""
        return self._io >= 0

    def run_delay(self) -> float:
        """Seconds that this thread waited for a core since it started; -1: not counted."""
        if self._sched < 0:
            return -1.0
        return int(os.pread(self._sched, 64, 0).split()[1]) / 1e9

    def io(self) -> list[int]:
        """Bytes read by system calls, and from a disk; -1: not counted."""
        if self._io < 0:
            return [-1, -1]
        lines = os.pread(self._io, 512, 0).split()
        return [int(lines[1]), int(lines[9])]

    def read_since(self, now: float) -> tuple[int, int] | None:
        """Bytes read by system calls, and from a disk, since this was last asked; None if that is a moment ago."""
        if now - self._read_at < _IO_SECONDS:
            return None
        (chars, disk), self._read_at = self._read, now
        self._read = self.io()
        return self._read[0] - chars, self._read[1] - disk


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return -1


class WorkerHooks:
    """Installed into ``torch.utils.data``."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._page: Page | None = None
        self._local = threading.local()
        """`counters` of each thread that makes batches: a loop may read its loader in a new one each time."""
        self._worker_info: Any = lambda: None
        self._begin_anew()
        probe.after_fork.append(self._begin_anew)

    def _begin_anew(self) -> None:
        self._page = None
        self._local = threading.local()
        self._draws = RandomDraws(self._probe)
        # As in `layout`.
        self._fetches = self._samples = self._busy = self._slowest = 0.0
        self._detail_at = 0.0
        """When the kernel's counters are read again."""
        self._rough = 0.0
        """Time of the batches since the newest whose CPU time was read."""

    def install(self, module: Any) -> None:
        """Wrap `fetch` of both kinds of fetchers."""
        self._worker_info = module.get_worker_info
        fetch = module._utils.fetch
        for kind in (fetch._MapDatasetFetcher, fetch._IterableDatasetFetcher):
            self._patch(kind)

    def _patch(self, kind: Any) -> None:
        original = kind.fetch
        probe, off = self._probe, self._probe.off

        def fetch(fetcher: Any, index: Any) -> Any:
            if "worker" in off:
                return original(fetcher, index)
            try:
                begun = self._begin()
            except Exception as error:  # noqa: BLE001 - the script comes first
                probe.failed("worker", error, self._page)
                return original(fetcher, index)
            # A batch sampler may give arrays or tensors of indices.
            listed = isinstance(index, (list, tuple)) or (fetcher.auto_collation and hasattr(index, "__len__"))
            samples = len(index) if listed else 1
            try:
                batch = original(fetcher, index)
            except BaseException as error:
                self._end(begun, samples)
                hide_frame(error)
                raise
            self._end(begun, samples)
            return batch

        kind.fetch = fetch

    def _begin(self) -> tuple[float, float, float, Any, _Counters | None]:
        """When the batch was begun, and the kernel's counters then; 0: they are not read for it."""
        page, now = self._page, clock()
        if page is not None and now < self._detail_at and not self._draws.left:
            page.slots[_WORKING_SINCE] = now
            return now, 0.0, 0.0, None, None
        if page is None:
            info = self._worker_info()
            # Without workers the loop makes its batches itself, in a page beside its own.
            info_id = -1.0 if info is None else float(info.id)
            page = self._page = Page(self._probe.folder, layout.WORKER)
            page.slots[layout.WORKER_ID] = info_id
            page.slots[layout.THREAD] = float(getattr(threading, "get_native_id", os.getpid)())
        counters = getattr(self._local, "counters", None)
        if counters is None:
            counters = self._local.counters = _Counters()
        states = self._draws.before()
        now = clock()
        page.slots[_WORKING_SINCE] = now
        if now < self._detail_at:
            return now, 0.0, 0.0, states, counters
        return now, time.thread_time(), counters.run_delay(), states, counters

    def _end(self, begun: tuple[float, float, float, Any, _Counters | None], samples: int) -> None:
        try:
            page = self._page
            if page is None:
                return
            wall, cpu, delay, states, counters = begun
            seconds = clock() - wall
            if cpu and counters is not None:
                self._read_counters(page, counters, seconds, cpu, delay)
            else:
                self._rough += seconds
            self._fetches += 1.0
            self._samples += samples
            self._busy += seconds
            slots = page.slots
            slots[layout.FETCHES] = self._fetches
            slots[layout.WORKER_SAMPLES] = self._samples
            slots[layout.BUSY] = self._busy
            slots[_WORKING_SINCE] = 0.0
            if seconds > self._slowest * samples:
                self._slowest = seconds / max(1, samples)
                slots[layout.SLOWEST] = max(slots[layout.SLOWEST], self._slowest)
            if states is not None:
                self._draws.after(page, states)
        except Exception as error:  # noqa: BLE001 - the script comes first
            self._probe.failed("worker", error, self._page)

    def _read_counters(self, page: Page, counters: _Counters, seconds: float, cpu: float, delay: float) -> None:
        """A batch ended that took so many `seconds`; `cpu` and `delay`: the kernel's counters when it was begun."""
        slots, now = page.slots, clock()
        stands_for = (self._rough + seconds) / seconds if seconds else 1.0
        self._rough, self._detail_at = 0.0, now + _DETAIL_SECONDS
        slots[layout.CPU] += (time.thread_time() - cpu) * stands_for
        if delay >= 0.0:
            slots[layout.RUN_DELAY] += (counters.run_delay() - delay) * stands_for
        else:
            slots[layout.RUN_DELAY] = -1.0
        if not counters.counts_bytes:
            slots[layout.READ_CHARS] = slots[layout.DISK_BYTES] = -1.0
        elif (read := counters.read_since(now)) is not None:
            slots[layout.READ_CHARS] += read[0]
            slots[layout.DISK_BYTES] += read[1]
        # The reader sets it back.
        self._slowest = slots[layout.SLOWEST]
