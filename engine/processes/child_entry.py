"""The frame of processes that measure: an order from standard input, replies as JSON lines on standard output."""

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
from gputrain.engine.processes.child_job import Done, Failed, Progress, Reply, Tell
from gputrain.engine.processes.compile_cache import set_compile_cache
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import StopRequested, TrainerControl

Order = TypeVar("Order", bound=Struct)
Work = Callable[[Order, EventReporter, TrainerControl, Tell], Struct]
"""Does the work of an order; may import torch, which nothing before it does. Returns the result."""

_GRACE = 5.0

_printing = threading.Lock()
"""Two threads print; their lines must not mix."""


def serve_job(order_type: type[Order], work: Work[Order], engine: str = "torch") -> None:
    """Do `work` on the order that standard input holds, with the library of `engine`."""
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=order_type)
    threading.Thread(target=_end_with_asker, name="asker", daemon=True).start()
    context = multiprocessing.get_context("spawn")
    outbox: Queue[bytes] = context.Queue()
    inbox, other_end = context.Pipe(duplex=False)
    reporter = EventReporter(outbox)
    control = TrainerControl(inbox, reporter)
    control.install_signals()
    threading.Thread(target=_pass_on, args=(outbox,), name="progress", daemon=True).start()
    try:
        phase, key = IMPORTS[engine]
        reporter.phase(phase, key=key)
        set_compile_cache()
        result = work(order, reporter, control, lambda text: _say(Progress(text)))
        _say(Done(msgspec.Raw(msgspec.json.encode(result))))
    except StopRequested as request:
        _say(Failed(str(request), False))
    except BadInput as error:
        _say(Failed(plain(str(error), 1000), True))
    except Exception as error:  # noqa: BLE001 - whatever ends the work is told to the person
        traceback.print_exc()
        _say(Failed(plain(f"{type(error).__name__}: {error}", 600), False))
    other_end.close()
    outbox.put(b"")
    reporter.close()


def _end_with_asker() -> None:
    """Standard input ends when whoever asked is gone or wants no answer any more."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
    # The signal leaves a mark, which is looked at between two steps: some take long.
    time.sleep(_GRACE)
    os._exit(EXIT_FAILED)


def _pass_on(outbox: Queue[bytes]) -> None:
    """Print what the engine's parts report of phases, as progress."""
    while (raw := outbox.get()) != b"":
        match decode(raw):
            case PhaseChanged(phase=phase, done=done, total=total, eta_seconds=left):
                share = f" {done / total:.0%}" if done is not None and total else ""
                rest = f", {duration(left)} left" if left is not None and left >= 1 else ""
                _say(Progress(phase.value + share + rest))
            case Notice(text=text):
                _say(Progress(text))


def _say(reply: Reply) -> None:
    with _printing:
        print(msgspec.json.encode(reply).decode(), flush=True)
