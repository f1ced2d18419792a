"""The machine without a run: a sampler on a thread, read by a screen or by lines as a run's events are."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from msgspec import Struct

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import AnyEvent, HardwareSample, Notice, stamp
from gputrain.engine.monitor.csv_log import CsvLog
from gputrain.engine.monitor.gpus.gpu_threads import OPEN_PATIENCE
from gputrain.engine.monitor.sampler import Sampler, next_due


class WatchedProcess(Struct, frozen=True):
    """A process that belongs to no run of ours, and all that it starts."""

    pid: int
    name: str
    alive: Callable[[], bool]
    """Whether this very process still runs; a later one of the same number does not count."""

    @property
    def title(self) -> str:
        """For the person."""
        return f"pid {self.pid} {self.name}".rstrip()


def watched_process(pid: int) -> WatchedProcess:
    """The process of number `pid`. Raises BadInput if there is none."""
    try:
        process = psutil.Process(pid)
        name = plain(process.name(), 30)
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        raise BadInput(f"--pid {pid}: no such process; pids are listed by: ps -e") from None
    except psutil.AccessDenied:
        name = ""

    def alive() -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    return WatchedProcess(pid, name, alive)


class MonitorSource:
    """Samples of this machine, one each `interval` seconds, until closed or until the watched process has ended.

    Each sample but the first, which has no rates yet, is appended to `log`. The data's disk is that of the current
    folder.
    """

    def __init__(
        self,
        interval: float,
        gpus: frozenset[int] | None = None,
        process: WatchedProcess | None = None,
        log: CsvLog | None = None,
        gpu_patience: float = OPEN_PATIENCE,
    ) -> None:
        self._interval, self._process, self._log = interval, process, log
        self._changed = threading.Event()
        self._gpus, self._gpu_patience = gpus, gpu_patience
        self._found: queue.SimpleQueue[AnyEvent | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._seq = 0
        self.abandoned = False
        """The watched process has ended."""
        self.ended = False
        self.caught_up = True
        self.sparse_until = 0
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def read(self, timeout: float = 0.5, limit: int = 5000) -> list[AnyEvent]:
        """What was sampled since the last call; waits up to `timeout` seconds for the first sample."""
        events: list[AnyEvent] = []
        with contextlib.suppress(queue.Empty):
            while len(events) < limit:
                event = self._found.get(timeout=timeout) if not events else self._found.get_nowait()
                if event is None:
                    self.abandoned = True
                    break
                events.append(event)
        return events

    def close(self) -> None:
        """Sample no more, and close the log; a driver that hangs is not waited for."""
        self._stop.set()
        self._changed.set()

    def set_interval(self, seconds: float) -> None:
        """Sample each `seconds` from now on."""
        self._interval = seconds
        self._changed.set()

    def _run(self) -> None:
        with contextlib.ExitStack() as stack:
            if self._log is not None:
                stack.callback(self._log.close)
            sampler = stack.enter_context(
                contextlib.closing(Sampler(self._roots, Path(), self._gpus, self._gpu_patience, for_list=True))
            )
            due = time.monotonic()
            while not self._stop.is_set():
                if self._process is not None and not self._process.alive():
                    self._found.put(None)
                    return
                self._take(sampler.sample())
                due = self._next(due)

    def _next(self, due: float) -> float:
        """Wait until the next sample is due, which a new interval may change."""
        taken = due
        while True:
            due = next_due(taken, self._interval)
            if not self._changed.wait(due - time.monotonic()) or self._stop.is_set():
                return due
            self._changed.clear()

    def _roots(self) -> tuple[int, ...]:
        return (self._process.pid,) if self._process is not None else ()

    def _take(self, sample: HardwareSample) -> None:
        self._put(sample)
        if self._log is None or self._seq == 1:
            return
        try:
            self._log.append(sample)
        except OSError as error:
            self._put(Notice(level="error", text=f"the log cannot be written: {error}", source="monitor"))
            self._log.close()
            self._log = None

    def _put(self, event: AnyEvent) -> None:
        self._seq += 1
        wall, mono = event.wall or time.time(), event.mono or time.monotonic()
        self._found.put(stamp(event, self._seq, wall, mono))
