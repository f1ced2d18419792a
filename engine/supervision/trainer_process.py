"""The trainer as a child process of the supervisor: start, event queue, commands, and cleanup of its children."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from pathlib import Path

import msgspec
import psutil

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events.commands import AnyCommand, encode_command
from gputrain.engine.processes import scheduler_signals
from gputrain.engine.processes.orphans import adopt_orphans
from gputrain.engine.processes.rank_environment import RankInfo
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.supervision import trainer_main

QUEUE_EVENTS = 4096
_DRAIN_SECONDS = 1.0
_REAP_SECONDS = 3.0
_SUPERVISOR_CHILDREN = ("resource_tracker", "gputrain.engine.loggers", "gputrain.engine.alerts")
"""Children of the supervisor itself: the resource tracker of multiprocessing; loggers and alerts exit by themselves."""


class TrainerProcess:
    """One trainer process. Create it on the main thread, before threads that would inherit its file descriptors."""

    def __init__(
        self,
        run: RunDir,
        config: RunConfig,
        on_event: Callable[[bytes], None],
        info: RankInfo | None = None,
        listener: socket.socket | None = None,
        log: Path | None = None,
        context: BaseContext | None = None,
    ) -> None:
        """`on_event` gets each encoded event, on a thread. `info`: of rank 0, if a launcher started all ranks.

        `listener`: the socket of the store at which they meet; None: rank 0 opens it. `log`: file for the
        output; None: the run's ``trainer.log``. `context`: how the process is made; None: spawn.
        """
        adopt_orphans()
        context = context or multiprocessing.get_context("spawn")
        # The queue starts multiprocessing's resource tracker, which a preemption signal must not end.
        with scheduler_signals.blocked_signals():
            self._outbox: Queue[bytes] = context.Queue(QUEUE_EVENTS)
        child_end, self._commands = context.Pipe(duplex=False)
        self.killed_on_request = False
        self._process: BaseProcess = context.Process(  # type: ignore[attr-defined]
            target=trainer_main.run,
            args=(str(run.directory), msgspec.json.encode(config), self._outbox, child_end, info, listener),
            name="trainer",
        )
        with standard_streams_to(log or run.trainer_log), scheduler_signals.blocked_signals():
            self._process.start()
        child_end.close()
        # With our writing end closed, a half-written message of a killed trainer reads as end of file.
        self._outbox._writer.close()  # type: ignore[attr-defined]
        self._on_event = on_event
        self._reader = threading.Thread(target=self._read, name="trainer queue", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int | None:
        """Process id of the trainer."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.exitcode

    def _read(self) -> None:
        # EOFError: the trainer and its workers have ended. Any error from unpickling a half-written message
        # means the same: nothing more can be read.
        with contextlib.suppress(EOFError, OSError, ValueError):
            while True:
                for event in self._outbox.get().split(b"\n"):
                    self._on_event(event)

    def watch(self, on_exit: Callable[[], None]) -> None:
        """Call `on_exit` (on a thread) once the trainer and the processes it started have ended."""

        def wait() -> None:
            # waitid, not the sentinel: data workers inherit the pipe behind the sentinel and keep it open.
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self._process.pid or 0, os.WEXITED | os.WNOWAIT)
            self._process.join()
            _kill_orphans()
            # The queue's other ends are closed now, so the reader reaches the end.
            self._reader.join(_DRAIN_SECONDS)
            on_exit()

        threading.Thread(target=wait, name="trainer watch", daemon=True).start()

    def last_events(self) -> list[bytes]:
        """After its end: wait for its last events, and return those that the reader has not handed out."""
        self._reader.join(_DRAIN_SECONDS)
        return list(self.drain())

    def drain(self) -> Iterator[bytes]:
        """The encoded events that the reader has not read."""
        if self._reader.is_alive():
            return
        with contextlib.suppress(queue.Empty, EOFError, OSError, ValueError):
            while True:
                yield from self._outbox.get_nowait().split(b"\n")

    def send(self, command: AnyCommand) -> str:
        """Send a command; returns what became of it, for the record."""
        try:
            self._commands.send_bytes(encode_command(command))
        except OSError:
            return "the trainer has ended"
        return "sent to the trainer"

    def kill(self) -> None:
        """Kill the trainer: it did not exit in time after "stop now"."""
        self.killed_on_request = True
        self._process.kill()


@contextlib.contextmanager
def standard_streams_to(file: Path) -> Iterator[None]:
    """Children started inside append stdout and stderr to `file`."""
    log = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    kept = (os.dup(1), os.dup(2))
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        yield
    finally:
        for saved, number in zip(kept, (1, 2), strict=True):
            os.dup2(saved, number)
            os.close(saved)
        os.close(log)


def _kill_orphans() -> None:
    """Kill the processes that the trainer left behind: they hold GPU and shared memory while they live."""
    left = [
        p
        for p in psutil.Process().children()
        if not any(word in " ".join(_command(p)) for word in _SUPERVISOR_CHILDREN)
    ]
    orphans = [*left, *(child for parent in left for child in _children(parent))]
    for orphan in orphans:
        with contextlib.suppress(psutil.Error):
            orphan.kill()
    psutil.wait_procs(orphans, timeout=_REAP_SECONDS)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
