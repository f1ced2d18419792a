"""Samples this machine on a thread. Screens and line output read the samples as they read a run's events."""

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
    """A process outside of our runs, with its children."""

    pid: int
    name: str
    alive: Callable[[], bool]
    """Whether the process still runs. A later process with the same pid does not count."""

    @property
    def title(self) -> str:
        """Pid and name for display."""
        return f"pid {self.pid} {self.name}".rstrip()


def watched_process(pid: int) -> WatchedProcess:
    """The process with this `pid`. Raises BadInput if there is none."""
    try:
        process = psutil.Process(pid)
        name = plain(process.name(), 30)
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        raise BadInput(f"--pid {pid}: no such process; list them with: ps -e") from None
    except psutil.AccessDenied:
        name = ""

    def alive() -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    return WatchedProcess(pid, name, alive)


class MonitorSource:
    """Samples this machine every `interval` seconds, until closed or until the watched process ended.

    Appends each sample to `log`, except the first, which has no rates yet. The disk of the current folder counts as the
    data disk.
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
        """The watched process ended."""
        self.ended = False
        self.caught_up = True
        self.sparse_until = 0
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def read(self, timeout: float = 0.5, limit: int = 5000) -> list[AnyEvent]:
        """The samples since the last call; waits up to `timeout` seconds for the first one."""
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
        """Stop sampling and close the log. Does not wait for a driver that hangs."""
        self._stop.set()
        self._changed.set()

    def set_interval(self, seconds: float) -> None:
        """Sample every `seconds` from now on."""
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
        """Wait until the next sample is due; a new interval changes that time. Returns the due time."""
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
