"""Ranks 1 and up of a run: processes that rank 0 (the trainer that the supervisor started) starts and ends.

Each sends its warnings and its failure to rank 0 through a pipe. Imports no torch.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType

import msgspec

from gputrain.engine import events
from gputrain.engine.common.errors import EXIT_FAILED
from gputrain.engine.events import AnyEvent, Notice, Outcome, RankSteps, RunEnded, Steps
from gputrain.engine.processes import preemption
from gputrain.engine.processes.event_reporter import EventReporter

Entry = Callable[[str, bytes, int, str, Connection], None]
"""Called in a new process with run directory, configuration, rank, rendezvous file and pipe."""

RENDEZVOUS = "ranks"
"""Name of the rendezvous file in the run directory."""
RANK_LOST = "RankLost"
"""Start of the error of a rank that lost the connection to another one."""
_DUPLICATE_SECONDS = 1.0
"""A notice of another rank is dropped if rank 0 sends the same one within this time."""
_REPORT_SECONDS = 2.0
"""Time between two `RankSteps` of a rank."""
_JOIN_SECONDS = 30.0
"""Time for the other ranks to exit after the last step."""
_CAUSE_SECONDS = 15.0
"""Time until a rank's exit code is known, once its pipe is closed or a collective failed."""
_HANG_SECONDS = 60.0
"""Time for rank 0 to notice a lost rank and to finish a checkpoint; then it exits, since some collectives between GPUs
never return."""


class RankProcesses:
    """Ranks 1 and up. Rank 0 creates it before it imports torch, so that all ranks import at the same time."""

    def __init__(self, directory: Path, config_json: bytes, count: int, entry: Entry, reporter: EventReporter) -> None:
        """`count`: number of ranks, rank 0 included; 1 starts none. Raises OSError."""
        self._reporter = reporter
        self._rendezvous = directory / RENDEZVOUS
        # A file left by a killed trainer would mix its ranks with these.
        self._rendezvous.unlink(missing_ok=True)
        self._processes: list[BaseProcess] = []
        self._pipes: dict[Connection, int] = {}
        self._texts: set[str] = set()
        self._waiting: deque[tuple[float, int, Notice]] = deque()
        """Time, rank and notice of notices that are held back for `_DUPLICATE_SECONDS`."""
        self._failed: RunEnded | None = None
        self._known = threading.Event()
        """Set once `_failed` holds why a rank ended."""
        self._reported_end: set[int] = set()
        self._closing = False
        if count == 1:
            return
        context = multiprocessing.get_context("spawn")
        with preemption.blocked_signals():
            for rank in range(1, count):
                parent_end, child_end = context.Pipe()
                arguments = (str(directory), config_json, rank, str(self._rendezvous), child_end)
                process = context.Process(target=entry, args=arguments, name=f"rank {rank}")
                process.start()
                child_end.close()
                self._processes.append(process)
                self._pipes[parent_end] = rank
        self._reader = threading.Thread(target=self._read, name="ranks", daemon=True)
        self._reader.start()

    @property
    def rendezvous(self) -> str:
        """Path of the rendezvous file; empty with a single rank."""
        return str(self._rendezvous) if self._processes else ""

    def cause_of(self, ended: RunEnded) -> RunEnded:
        """The run's end: if rank 0 lost another rank (`RANK_LOST`), why that one ended, else `ended`."""
        if not ended.error.startswith(RANK_LOST):
            return ended
        self._known.wait(_CAUSE_SECONDS)
        return ended if self._failed is None else msgspec.structs.replace(self._failed, step=ended.step)

    def join(self) -> None:
        """Wait for the other ranks, which reach the end of training by themselves."""
        self._closing = True
        for process in self._processes:
            process.join(_JOIN_SECONDS)

    def _read(self) -> None:
        open_pipes = dict(self._pipes)
        while open_pipes:
            ready = wait(list(open_pipes), _DUPLICATE_SECONDS if self._waiting else None)
            self._send_waiting()
            for pipe in ready:
                assert isinstance(pipe, Connection)
                rank = open_pipes[pipe]
                try:
                    event = events.decode(pipe.recv_bytes())
                except (EOFError, OSError):
                    del open_pipes[pipe]
                    self._on_exit(rank)
                    continue
                if event is not None:
                    self._on_event(rank, event)

    def _on_event(self, rank: int, event: AnyEvent) -> None:
        if isinstance(event, RunEnded):
            self._reported_end.add(rank)
            # A rank that lost another one did not cause the failure.
            if event.outcome is Outcome.FAILED and not event.error.startswith(RANK_LOST):
                self._fail(msgspec.structs.replace(event, reason=f"rank {rank}: {event.reason}"))
        elif isinstance(event, Notice) and event.text not in self._texts:
            # The same notice of several ranks is sent once.
            self._texts.add(event.text)
            self._waiting.append((time.monotonic(), rank, event))
        elif isinstance(event, RankSteps):
            self._reporter.send(event)

    def _send_waiting(self) -> None:
        """Send held-back notices that rank 0 has not sent itself."""
        while self._waiting and self._waiting[0][0] < time.monotonic() - _DUPLICATE_SECONDS:
            _, rank, notice = self._waiting.popleft()
            if notice.text not in self._reporter.newest:
                self._reporter.notice(notice.level, f"rank {rank}: {notice.text}")

    def _on_exit(self, rank: int) -> None:
        process = self._processes[rank - 1]
        process.join(_CAUSE_SECONDS)
        code = process.exitcode
        if self._closing or not code or rank in self._reported_end:
            return
        if code < 0:
            reason = f"rank {rank} was killed by {signal.Signals(-code).name} from outside"
            self._fail(RunEnded(outcome=Outcome.KILLED, reason=reason, signal=-code, exit_code=code))
        else:
            reason = f"rank {rank} exited with code {code} without an error message; see trainer.log"
            self._fail(RunEnded(outcome=Outcome.FAILED, reason=reason, exit_code=code))

    def _fail(self, ended: RunEnded) -> None:
        if self._failed is None:
            self._failed = ended
            self._known.set()
            threading.Thread(target=self._exit_if_hung, name="rank failure", daemon=True).start()

    def _exit_if_hung(self) -> None:
        """End the run if rank 0 has not noticed the failure: a GPU collective may never return."""
        time.sleep(_HANG_SECONDS)
        if self._closing or self._failed is None:
            return
        self._reporter.send(self._failed)
        self._kill()
        self._reporter.close()
        os._exit(EXIT_FAILED)

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()

    def __enter__(self) -> RankProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._processes:
            return
        self._closing = True
        self._kill()
        for process in self._processes:
            process.join()
        self._reader.join()
        for pipe in self._pipes:
            pipe.close()
        self._rendezvous.unlink(missing_ok=True)


class RankReporter(EventReporter):
    """The reporter of rank 1 and up: sends warnings, errors and step times to rank 0; rank 0 reports the rest."""

    def __init__(self, pipe: Connection, rank: int) -> None:
        self._pipe, self._rank = pipe, rank
        self._windows: list[Steps] = []
        self.newest = deque(maxlen=0)
        self._supervisor = os.getppid()

    def send(self, event: AnyEvent) -> None:
        """Send warnings, errors and `RunEnded`; other events are dropped."""
        if isinstance(event, RunEnded) or (isinstance(event, Notice) and event.level != "info"):
            with contextlib.suppress(OSError):
                self._pipe.send_bytes(events.encode(event))

    def steps(self, event: Steps) -> None:
        """Send the times of the last windows every few seconds, as `RankSteps`."""
        self._windows.append(event)
        if sum(one.window_seconds for one in self._windows) < _REPORT_SECONDS:
            return
        summed = RankSteps(
            rank=self._rank,
            window_steps=sum(one.window_steps for one in self._windows),
            window_seconds=sum(one.window_seconds for one in self._windows),
            data_wait=sum(one.data_wait for one in self._windows),
            compute=sum(one.compute for one in self._windows),
            exchange=sum(one.exchange or 0.0 for one in self._windows),
        )
        self._windows.clear()
        with contextlib.suppress(OSError):
            self._pipe.send_bytes(events.encode(summed))

    def phase(self, phase: events.Phase, detail: str = "", key: str = "") -> None:
        """Nothing: rank 0 reports it."""

    def progress(self, done: float, total: float | None, unit: str) -> None:
        """Nothing: rank 0 reports it."""

    def close(self) -> None:
        """Nothing: everything was sent at once."""


def exit_with_parent() -> None:
    """In rank 1 and up: exit when rank 0 has ended, even during a collective that never returns."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(EXIT_FAILED)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
