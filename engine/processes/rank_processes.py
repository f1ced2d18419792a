"""Ranks 1 and up of a run: processes that rank 0 (the trainer that the supervisor started) starts and ends.

Each sends its warnings and its failure to rank 0 through a pipe. Imports no torch.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType

from gputrain.engine import events
from gputrain.engine.common.errors import EXIT_FAILED
from gputrain.engine.events import AnyEvent, NodeSample, Notice, Outcome, RankSteps, RunEnded, Steps
from gputrain.engine.processes import scheduler_signals
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.rank_environment import LOOPBACK, MeetingPoint
from gputrain.engine.processes.rank_events import DUPLICATE_SECONDS, RankEvents

Entry = Callable[[str, bytes, int, MeetingPoint, Connection], None]
"""Called in a new process with run directory, configuration, rank, meeting point and pipe."""

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
        self.meeting: MeetingPoint | None = None
        """Where the ranks meet, for rank 0; None with a single rank."""
        self._processes: list[BaseProcess] = []
        self._pipes: dict[Connection, int] = {}
        self._events = RankEvents(reporter)
        self._closing = self._failing = False
        if count == 1:
            return
        # A store of their own for each start: the one of the ranks before would have their addresses. It listens before
        # any rank starts, so that none of them comes too early.
        listener = socket.create_server((LOOPBACK, 0), backlog=max(128, count))
        port = listener.getsockname()[1]
        self.meeting = MeetingPoint(LOOPBACK, port, listener.detach())
        context = multiprocessing.get_context("spawn")
        with scheduler_signals.blocked_signals():
            for rank in range(1, count):
                parent_end, child_end = context.Pipe()
                arguments = (str(directory), config_json, rank, MeetingPoint(LOOPBACK, port), child_end)
                process = context.Process(target=entry, args=arguments, name=f"rank {rank}")
                process.start()
                child_end.close()
                self._processes.append(process)
                self._pipes[parent_end] = rank
        self._reader = threading.Thread(target=self._read, name="ranks", daemon=True)
        self._reader.start()

    def cause_of(self, ended: RunEnded) -> RunEnded:
        """The run's end: if rank 0 lost another rank (`RANK_LOST`), why that one ended, else `ended`."""
        return self._events.cause_of(ended, _CAUSE_SECONDS)

    def join(self) -> None:
        """Wait for the other ranks, which reach the end of training by themselves."""
        self._closing = True
        for process in self._processes:
            process.join(_JOIN_SECONDS)

    def _read(self) -> None:
        open_pipes = dict(self._pipes)
        while open_pipes:
            ready = wait(list(open_pipes), DUPLICATE_SECONDS if self._events.waiting else None)
            self._events.flush()
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
                    self._events.take(rank, event)
                    if isinstance(event, RunEnded) and self._events.failed is not None:
                        self._on_failure()

    def _on_exit(self, rank: int) -> None:
        process = self._processes[rank - 1]
        process.join(_CAUSE_SECONDS)
        code = process.exitcode
        if self._closing or not code or rank in self._events.ended:
            return
        if code < 0:
            reason = f"rank {rank} was killed by {signal.Signals(-code).name} from outside"
            self._fail(RunEnded(outcome=Outcome.KILLED, reason=reason, signal=-code, exit_code=code))
        else:
            reason = f"rank {rank} exited with code {code} without an error message; see trainer.log"
            self._fail(RunEnded(outcome=Outcome.FAILED, reason=reason, exit_code=code))

    def _fail(self, ended: RunEnded) -> None:
        self._events.fail(ended)
        self._on_failure()

    def _on_failure(self) -> None:
        if not self._failing:
            self._failing = True
            threading.Thread(target=self._exit_if_hung, name="rank failure", daemon=True).start()

    def _exit_if_hung(self) -> None:
        """End the run if rank 0 has not noticed the failure: a GPU collective may never return."""
        time.sleep(_HANG_SECONDS)
        if self._closing or self._events.failed is None:
            return
        self._reporter.send(self._events.failed)
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


class RankReporter(EventReporter):
    """The reporter of rank 1 and up: sends warnings, errors and step times to rank 0; rank 0 reports the rest."""

    def __init__(
        self,
        send: Callable[[bytes], None],
        rank: int,
        host: str = "",
        gpu: int | None = None,
        record: Callable[[bytes], None] | None = None,
    ) -> None:
        """`send` takes encoded events to rank 0; it may raise OSError. `host`, `gpu`: as in `RankSteps`.

        `record`: takes the step times to rank 0 without waiting; None: `send` does.
        """
        self._send, self._rank = send, rank
        self._record = record or send
        self._host, self._gpu = host, gpu
        self._windows: list[Steps] = []
        self.newest = deque(maxlen=0)
        self._supervisor = os.getppid()

    def send(self, event: AnyEvent) -> None:
        """Send warnings, errors, samples of the machine and `RunEnded`; other events are dropped."""
        if isinstance(event, RunEnded | NodeSample) or (isinstance(event, Notice) and event.level != "info"):
            with contextlib.suppress(OSError):
                self._send(events.encode(event))

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
            host=self._host,
            gpu=self._gpu,
        )
        self._windows.clear()
        with contextlib.suppress(OSError):
            self._record(events.encode(summed))

    def phase(self, phase: events.Phase, detail: str = "", key: str = "") -> None:
        """Nothing: rank 0 reports it."""

    def progress(self, done: float, total: float | None, unit: str) -> None:
        """Nothing: rank 0 reports it."""

    def close(self) -> None:
        """Nothing: everything was sent at once."""


def exit_with_parent() -> None:
    """In rank 1 and up: exit when the parent has ended, even during a collective that never returns."""
    watch_parent(lambda: os._exit(EXIT_FAILED))


def watch_parent(then: Callable[[], None]) -> None:
    """Call `then` on a thread once the process that started this one has ended."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        then()

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
