"""One trace: the real loader with a fault in it, before a simulated device or the real trainer on the CPU."""

from __future__ import annotations

import multiprocessing
import queue
import tempfile
import threading
import time
from dataclasses import replace
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import diagnosis_machine
import msgspec
from diagnosis_machine import Unavailable
from diagnosis_setup import Setup
from diagnosis_simulated import simulate
from diagnosis_tape import Tape, config_of, faulty, watch

from gputrain.engine import events
from gputrain.engine.configuration import settings
from gputrain.engine.events import AnyEvent, Phase, PhaseChanged, RunStarted
from gputrain.engine.hardware.cgroup import find_cgroup
from gputrain.engine.hardware.machine import usable_cores
from gputrain.engine.monitor.sampler import Sampler
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.training.loop.trainer import Trainer
from gputrain.engine.training.workers import worker_main

_LIMIT_SECONDS = 240.0


def prepare() -> None:
    """Start the fork server with all modules that the workers need, before a loader starts one without them."""
    context = multiprocessing.get_context("forkserver")
    # It finds modules that are installed only.
    context.set_forkserver_preload([worker_main.__name__, Trainer.__module__, Sampler.__module__, "PIL.Image"])
    forkserver.ensure_running()


def record(setup: Setup) -> list[AnyEvent]:
    """The events of a trace, recorded in a child process. Raises Unavailable, RuntimeError."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    with diagnosis_machine.served(setup.folder, setup.machine) as folder, diagnosis_machine.beside(setup.machine):
        process = context.Process(target=_serve, args=(theirs, replace(setup, folder=folder)))
        process.start()
        theirs.close()
        answer = _answer(ours, process)
    if isinstance(answer, Unavailable):
        raise answer
    if isinstance(answer, str):
        raise RuntimeError(answer)
    found: list[AnyEvent] = msgspec.json.decode(answer, type=list[AnyEvent])
    return found


def _answer(ours: Connection, process: BaseProcess) -> Any:
    """The result of the trace's process, after it has ended."""
    try:
        if not ours.poll(_LIMIT_SECONDS):
            raise RuntimeError("the trace took too long")
        return ours.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the trace's process left with exit code {process.exitcode}") from None
    finally:
        process.join(5)
        if process.is_alive():
            process.kill()


def _serve(pipe: Connection, setup: Setup) -> None:
    try:
        tape = Tape()
        if setup.settings.get("loader") == "processes":
            prepare()
        with diagnosis_machine.injected(setup.machine):
            (simulate if setup.step else _train)(setup, tape)
        pipe.send(msgspec.json.encode(tape.events))
    except Unavailable as error:
        pipe.send(error)
    except Exception as error:  # noqa: BLE001 - reported to the parent process
        pipe.send(f"{type(error).__name__}: {error}")


def _train(setup: Setup, tape: Tape) -> None:
    """The real trainer on the CPU, for `setup.seconds` of training."""
    config, stop = config_of(setup), threading.Event()
    context = multiprocessing.get_context("spawn")
    outbox, (inbox, _hold) = context.Queue(10_000), context.Pipe(duplex=False)
    reporter = EventReporter(outbox)
    control = TrainerControl(inbox, reporter)
    tape.put(RunStarted(run_id="trace", settings=settings.flatten(config), usable_cores=usable_cores(find_cgroup())))
    watcher = threading.Thread(target=watch, args=(tape, setup, lambda: None, stop))

    def listen() -> None:
        until = float("inf")
        while not stop.is_set():
            try:
                event = events.decode(outbox.get(timeout=0.1))
            except queue.Empty:
                event = None
            if event is not None:
                tape.put(event)
            if isinstance(event, PhaseChanged) and event.phase is Phase.TRAINING and until == float("inf"):
                until = time.monotonic() + setup.seconds
                watcher.start()
            if time.monotonic() > until:
                control.stop, control.reason = "now", "the trace is long enough"

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        with tempfile.TemporaryDirectory(prefix="gputrain-bench-run-") as folder, faulty(setup, 1 << 40):
            Trainer(Path(folder), config, reporter, control).train()
    finally:
        stop.set()
        listener.join()
        if watcher.ident is not None:
            watcher.join()
        outbox.cancel_join_thread()
        _hold.close()
