"""The other ranks of a run: processes that rank 0, the trainer that the supervisor knows, starts and sees off.

They speak through rank 0: their warnings and their failure go to it by a pipe of each rank's own. No torch here.
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
"""Run directory, configuration, rank, rendezvous place and pipe; called in a new process."""

RENDEZVOUS = "ranks"
"""File in the run directory by which the ranks find each other."""
RANK_LOST = "RankLost"
"""How the error begins of a rank that could not exchange something with another one."""
_ECHO_SECONDS = 1.0
"""In which rank 0 may say the same as another one."""
_TELL_SECONDS = 2.0
"""Between two words of a rank on its time."""
_LEAVE_SECONDS = 30.0
"""What ranks get to end by themselves after the last step."""
_CAUSE_SECONDS = 15.0
"""In which the end of a rank is known, once its pipe is closed or it can't be reached."""
_HANG_SECONDS = 60.0
"""What rank 0 gets to notice that another rank is gone, and to write the checkpoint that is under way: some exchanges
between GPUs would wait for ever."""


class RankProcesses:
    """Ranks 1 and up. Made by rank 0 before it imports torch, so that all import it at the same time."""

    def __init__(self, directory: Path, config_json: bytes, count: int, entry: Entry, reporter: EventReporter) -> None:
        """`count`: of all ranks; none is started for 1. Raises OSError."""
        self._reporter = reporter
        self._rendezvous = directory / RENDEZVOUS
        # Of a trainer that was killed: its ranks would be taken for these.
        self._rendezvous.unlink(missing_ok=True)
        self._processes: list[BaseProcess] = []
        self._pipes: dict[Connection, int] = {}
        self._said: set[str] = set()
        self._waiting: deque[tuple[float, int, Notice]] = deque()
        """What ranks have said, and when."""
        self._failed: RunEnded | None = None
        self._known = threading.Event()
        """What ended a rank is in `_failed`."""
        self._spoke: set[int] = set()
        self._closing = False
        if count == 1:
            return
        context = multiprocessing.get_context("spawn")
        with preemption.blocked_signals():
            for rank in range(1, count):
                ours, theirs = context.Pipe()
                arguments = (str(directory), config_json, rank, str(self._rendezvous), theirs)
                process = context.Process(target=entry, args=arguments, name=f"rank {rank}")
                process.start()
                theirs.close()
                self._processes.append(process)
                self._pipes[ours] = rank
        self._reader = threading.Thread(target=self._read, name="ranks", daemon=True)
        self._reader.start()

    @property
    def rendezvous(self) -> str:
        """Where all ranks find each other; empty where there is one alone."""
        return str(self._rendezvous) if self._processes else ""

    def cause_of(self, ended: RunEnded) -> RunEnded:
        """How the run ended: where rank 0 lost another one (`RANK_LOST`), what became of that."""
        if not ended.error.startswith(RANK_LOST):
            return ended
        self._known.wait(_CAUSE_SECONDS)
        return ended if self._failed is None else msgspec.structs.replace(self._failed, step=ended.step)

    def let_end(self) -> None:
        """The training is over: the others come to the same end by themselves."""
        self._closing = True
        for process in self._processes:
            process.join(_LEAVE_SECONDS)

    def _read(self) -> None:
        open_pipes = dict(self._pipes)
        while open_pipes:
            ready = wait(list(open_pipes), _ECHO_SECONDS if self._waiting else None)
            self._tell_waiting()
            for pipe in ready:
                assert isinstance(pipe, Connection)
                rank = open_pipes[pipe]
                try:
                    event = events.decode(pipe.recv_bytes())
                except (EOFError, OSError):
                    del open_pipes[pipe]
                    self._gone(rank)
                    continue
                if event is not None:
                    self._heard(rank, event)

    def _heard(self, rank: int, event: AnyEvent) -> None:
        if isinstance(event, RunEnded):
            self._spoke.add(rank)
            # A rank that only lost another one is no cause.
            if event.outcome is Outcome.FAILED and not event.error.startswith(RANK_LOST):
                self._fail(msgspec.structs.replace(event, reason=f"rank {rank}: {event.reason}"))
        elif isinstance(event, Notice) and event.text not in self._said:
            # What several of them say is told once.
            self._said.add(event.text)
            self._waiting.append((time.monotonic(), rank, event))
        elif isinstance(event, RankSteps):
            self._reporter.send(event)

    def _tell_waiting(self) -> None:
        """What rank 0 does not say itself at about the same time."""
        while self._waiting and self._waiting[0][0] < time.monotonic() - _ECHO_SECONDS:
            _, rank, notice = self._waiting.popleft()
            if notice.text not in self._reporter.newest:
                self._reporter.notice(notice.level, f"rank {rank}: {notice.text}")

    def _gone(self, rank: int) -> None:
        process = self._processes[rank - 1]
        process.join(_CAUSE_SECONDS)
        code = process.exitcode
        if self._closing or not code or rank in self._spoke:
            return
        if code < 0:
            reason = f"rank {rank} was killed by {signal.Signals(-code).name} from outside"
            self._fail(RunEnded(outcome=Outcome.KILLED, reason=reason, signal=-code, exit_code=code))
        else:
            reason = f"rank {rank} left with exit code {code} and no word; trainer.log may say more"
            self._fail(RunEnded(outcome=Outcome.FAILED, reason=reason, exit_code=code))

    def _fail(self, ended: RunEnded) -> None:
        if self._failed is None:
            self._failed = ended
            self._known.set()
            threading.Thread(target=self._end_hung, name="ranks' end", daemon=True).start()

    def _end_hung(self) -> None:
        """Where rank 0 does not notice by itself, the run ends here: GPUs may wait for each other for ever."""
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
    """The reporter of another rank: what only it can know goes to rank 0, all else is rank 0's to tell."""

    def __init__(self, pipe: Connection, rank: int) -> None:
        self._pipe, self._rank = pipe, rank
        self._windows: list[Steps] = []
        self.newest = deque(maxlen=0)
        self._supervisor = os.getppid()

    def send(self, event: AnyEvent) -> None:
        """Warnings, errors, and the end."""
        if isinstance(event, RunEnded) or (isinstance(event, Notice) and event.level != "info"):
            with contextlib.suppress(OSError):
                self._pipe.send_bytes(events.encode(event))

    def steps(self, event: Steps) -> None:
        """Its share of the time, every few seconds."""
        self._windows.append(event)
        if sum(one.window_seconds for one in self._windows) < _TELL_SECONDS:
            return
        told = RankSteps(
            rank=self._rank,
            window_steps=sum(one.window_steps for one in self._windows),
            window_seconds=sum(one.window_seconds for one in self._windows),
            data_wait=sum(one.data_wait for one in self._windows),
            compute=sum(one.compute for one in self._windows),
            exchange=sum(one.exchange or 0.0 for one in self._windows),
        )
        self._windows.clear()
        with contextlib.suppress(OSError):
            self._pipe.send_bytes(events.encode(told))

    def phase(self, phase: events.Phase, detail: str = "", key: str = "") -> None:
        """Rank 0's."""

    def progress(self, done: float, total: float | None, unit: str) -> None:
        """Rank 0's."""

    def close(self) -> None:
        """All was sent at once."""


def exit_with_parent() -> None:
    """In another rank: be ended when rank 0 is gone, even where it waits for what will never come."""
    parent = os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(EXIT_FAILED)

    threading.Thread(target=look, name="parent watch", daemon=True).start()
