"""Entry point of job processes: one order on standard input, replies as JSON lines on standard output."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.queues import Queue
from typing import TypeVar

import msgspec
from msgspec import Struct

from gputrain.engine.common.errors import EXIT_FAILED, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import duration
from gputrain.engine.configuration.engine_choice import IMPORTS
from gputrain.engine.events import Notice, PhaseChanged, decode
from gputrain.engine.processes import scheduler_signals
from gputrain.engine.processes.child_job import Done, Failed, Progress, ProgressCallback, Reply
from gputrain.engine.processes.compile_cache import set_compile_cache
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import StopRequested, TrainerControl

Order = TypeVar("Order", bound=Struct)
Work = Callable[[Order, EventReporter, TrainerControl, ProgressCallback], Struct]
"""Does the work of an order and returns the result. May import torch; nothing before it does."""

_STDIN = 0
"""File descriptor of standard input."""
_EXIT_SECONDS = 5.0
"""Time from SIGTERM to the forced exit."""
_PROGRESS_SECONDS = 10.0
"""Longest wait for the progress that is still to be printed."""

_printing = threading.Lock()
"""Two threads print; this keeps their lines apart."""


def serve_job(order_type: type[Order], work: Work[Order], engine: str = "torch") -> None:
    """Read an order from standard input, do `work`, and print the result; `engine`: the library to import."""
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=order_type)
    threading.Thread(target=_exit_with_parent, name="parent watch", daemon=True).start()
    context = multiprocessing.get_context("spawn")
    with scheduler_signals.blocked_signals():  # see `trainer_process`
        outbox: Queue[bytes] = context.Queue()
    inbox, commands = context.Pipe(duplex=False)
    reporter = EventReporter(outbox)
    control = TrainerControl(inbox, reporter)
    control.install_signals()
    progress = threading.Thread(target=_print_progress, args=(outbox,), name="progress", daemon=True)
    progress.start()
    reply: Reply
    try:
        phase, key = IMPORTS[engine]
        reporter.phase(phase, key=key)
        set_compile_cache()
        result = work(order, reporter, control, lambda text: _print(Progress(text)))
        reply = Done(msgspec.Raw(msgspec.json.encode(result)))
    except StopRequested as request:
        reply = Failed(str(request), False)
    except BadInput as error:
        reply = Failed(plain(str(error), 1000), True)
    except Exception as error:  # noqa: BLE001 - every exception is reported to the parent
        traceback.print_exc()
        reply = Failed(plain(f"{type(error).__name__}: {error}", 600), False)
    commands.close()
    outbox.put(b"")
    progress.join(_PROGRESS_SECONDS)
    _print(reply)  # the last line
    reporter.close()


def _exit_with_parent() -> None:
    """Exit when standard input closes: the parent process has ended or cancelled the job."""
    # Not with `sys.stdin`: its lock would be held when the user's workers are forked, which then wait for it forever.
    while os.read(_STDIN, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    # The handler only sets a flag, checked between two steps; a step may take longer than this.
    time.sleep(_EXIT_SECONDS)
    os._exit(EXIT_FAILED)


def _print_progress(outbox: Queue[bytes]) -> None:
    """Print phase events and notices as progress."""
    while (raw := outbox.get()) != b"":
        match decode(raw):
            case PhaseChanged(phase=phase, done=done, total=total, eta_seconds=left):
                share = f" {done / total:.0%}" if done is not None and total else ""
                rest = f", {duration(left)} left" if left is not None and left >= 1 else ""
                _print(Progress(phase.value + share + rest))
            case Notice(text=text):
                _print(Progress(text))


def _print(reply: Reply) -> None:
    with _printing:
        print(msgspec.json.encode(reply).decode(), flush=True)
