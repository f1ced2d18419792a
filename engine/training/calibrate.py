"""The entry of a calibration's process: reads an `Order` from standard input and prints replies as JSON lines."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import threading
import traceback
from multiprocessing.queues import Queue

import msgspec

from gputrain.engine.calibrating import Failed, Measured, Order, Progress, Reply
from gputrain.engine.calibration import Calibration
from gputrain.engine.errors import BadInput
from gputrain.engine.events import Notice, PhaseChanged, decode
from gputrain.engine.text import plain
from gputrain.engine.training.compilecache import keep_compiled
from gputrain.engine.training.control import Control, StopRequested
from gputrain.engine.training.reporter import Reporter

_printing = threading.Lock()
"""Two threads print; their lines must not mix."""


def say(reply: Reply) -> None:
    """Print one reply."""
    with _printing:
        print(msgspec.json.encode(reply).decode(), flush=True)


def _pass_on(outbox: Queue[bytes]) -> None:
    """Print what the engine's parts report of phases, as progress."""
    while (raw := outbox.get()) != b"":
        match decode(raw):
            case PhaseChanged(phase=phase, done=done, total=total):
                share = f" {done / total:.0%}" if done is not None and total else ""
                say(Progress(phase.value.replace("_", " ") + share))
            case Notice(text=text):
                say(Progress(text))


def _measure(order: Order, reporter: Reporter, control: Control) -> Calibration:
    say(Progress("importing torch"))
    keep_compiled()
    from gputrain.engine.training.measuring import Bench

    with contextlib.ExitStack() as loaders:
        return Bench(order, reporter, control, loaders, lambda text: say(Progress(text))).measure()


def main() -> None:
    """Measure what standard input orders."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    context = multiprocessing.get_context("spawn")
    outbox: Queue[bytes] = context.Queue()
    inbox, other_end = context.Pipe(duplex=False)
    reporter = Reporter(outbox)
    control = Control(inbox, reporter)
    control.install_signals()
    threading.Thread(target=_pass_on, args=(outbox,), name="progress", daemon=True).start()
    try:
        say(Measured(_measure(order, reporter, control)))
    except StopRequested as request:
        say(Failed(str(request), False))
    except BadInput as error:
        say(Failed(plain(str(error), 1000), True))
    except Exception as error:  # noqa: BLE001 - whatever ends the measurement is told to the person
        traceback.print_exc()
        say(Failed(plain(f"{type(error).__name__}: {error}", 600), False))
    other_end.close()
    outbox.put(b"")
    reporter.close()


if __name__ == "__main__":
    main()
