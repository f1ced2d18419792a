"""The trainer as a child of the supervisor: its start, its queue, its commands and what it leaves behind."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Iterator
from multiprocessing.queues import Queue

import msgspec
import psutil

from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.events.commands import AnyCommand, encode_command
from gputrain.engine.processes import preemption
from gputrain.engine.processes.orphans import adopt_orphans
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.supervision import trainer_main

QUEUE_EVENTS = 4096
_DRAIN_SECONDS = 1.0
_REAP_SECONDS = 3.0
_OWN = ("resource_tracker", "gputrain.engine.loggers")
"""Children of the supervisor's own: one removes shared memory that leaked, the others finish by themselves."""


class TrainerProcess:
    """One trainer process. Make it on the main thread, before threads that would inherit its descriptors."""

    def __init__(self, run: RunDir, config: RunConfig, on_event: Callable[[bytes], None]) -> None:
        """`on_event` gets each encoded event, on a thread."""
        adopt_orphans()
        context = multiprocessing.get_context("spawn")
        self._outbox: Queue[bytes] = context.Queue(QUEUE_EVENTS)
        theirs, self._commands = context.Pipe(duplex=False)
        self.killed_by_us = False
        self._process = context.Process(
            target=trainer_main.run,
            args=(str(run.directory), msgspec.json.encode(config), self._outbox, theirs),
            name="trainer",
        )
        with _standard_streams_to(run), preemption.blocked_signals():
            self._process.start()
        theirs.close()
        # Without this end, a message that a killed trainer left half written reads as an end of file.
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
        # EOFError: the trainer is gone and so are its workers. Anything else that unpickling a
        # half-written message may raise means the same: nothing more can be read.
        with contextlib.suppress(EOFError, OSError, ValueError):
            while True:
                self._on_event(self._outbox.get())

    def watch(self, on_exit: Callable[[], None]) -> None:
        """Call `on_exit` (on a thread) once the trainer has ended and what it left behind is gone."""

        def wait() -> None:
            # The process itself: its data workers have inherited what keeps the pipe of its sentinel open.
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self._process.pid or 0, os.WEXITED | os.WNOWAIT)
            self._process.join()
            _end_orphans()
            # The queue's other ends are closed now: its reader comes to the end of what was sent.
            self._reader.join(_DRAIN_SECONDS)
            on_exit()

        threading.Thread(target=wait, name="trainer watch", daemon=True).start()

    def drain(self) -> Iterator[bytes]:
        """Events that the reader did not get to."""
        if self._reader.is_alive():
            return
        with contextlib.suppress(queue.Empty, EOFError, OSError, ValueError):
            while True:
                yield self._outbox.get_nowait()

    def send(self, command: AnyCommand) -> str:
        """Hand a command over; returns what became of it."""
        try:
            self._commands.send_bytes(encode_command(command))
        except OSError:
            return "the trainer is gone"
        return "handed to the trainer"

    def kill(self) -> None:
        """End it now; for a person's "stop now" that it did not follow."""
        self.killed_by_us = True
        self._process.kill()


@contextlib.contextmanager
def _standard_streams_to(run: RunDir) -> Iterator[None]:
    """Let a child that is started inside print into the trainer's log."""
    log = os.open(run.trainer_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
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


def _end_orphans() -> None:
    """End what the trainer left behind: workers hold GPU memory and shared memory for as long as they live."""
    left = [p for p in psutil.Process().children() if not any(word in " ".join(_command(p)) for word in _OWN)]
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
