"""The process that owns one run: starts the trainer, writes the record, serves dashboards, names the end.

One thread, the main one, does everything that changes state; the others (queue from the trainer,
hardware sampler, commands from dashboards, watch over the trainer) only put items into its inbox.
It never imports torch and never forks.
"""

from __future__ import annotations

import contextlib
import os
import platform
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec

from gputrain.engine import endings, preemption, settings
from gputrain.engine.channel import Server
from gputrain.engine.checkpoints import read_index
from gputrain.engine.commands import AnyCommand, Stop, decode_command
from gputrain.engine.config import RunConfig
from gputrain.engine.configfile import read_config
from gputrain.engine.diagnosis.advisor import Advisor
from gputrain.engine.diagnosis.autotune import Autotune
from gputrain.engine.errors import EXIT_FAILED, BadInput
from gputrain.engine.events import (
    AnyEvent,
    CommandTaken,
    HardwareSample,
    HintsChanged,
    Notice,
    Phase,
    PhaseChanged,
    RunEnded,
    RunStarted,
    decode,
)
from gputrain.engine.files import cache_home
from gputrain.engine.launch import read_plan
from gputrain.engine.loggers import choice
from gputrain.engine.loggers.watch import Loggers
from gputrain.engine.machine import Machine, inspect_machine
from gputrain.engine.monitor.csvlog import CsvLog
from gputrain.engine.monitor.sampler import Sampler
from gputrain.engine.preemption import PREEMPTING, STOPPING
from gputrain.engine.record import RecordWriter
from gputrain.engine.retries import TRIES, Retries
from gputrain.engine.runs import RunDir
from gputrain.engine.statusfile import StatusFile
from gputrain.engine.text import plain
from gputrain.engine.trainerlog import TrainerLog
from gputrain.engine.trainerprocess import TrainerProcess
from gputrain.engine.version import VERSION
from gputrain.engine.watchdog import Watchdog

TICK_SECONDS = 0.5
LINGER_SECONDS = 600.0
"""How long a run that is over waits for room on a full disk."""
STOP_NOW_SECONDS = 10.0
"""How long a trainer may take to end on "stop now" before it is killed."""


def supervise(run: RunDir, *, resume: bool = False) -> int:
    """Own `run` from its start to its end; `resume`: go on from its newest good checkpoint.

    Returns an exit code for the process table; the record has the truth.
    """
    # Whatever this run or its children write is its owner's alone.
    os.umask(0o077)
    if not run.own():
        print(f"{run.id} already has a supervisor", file=sys.stderr)
        return 1
    try:
        config = read_config(run.config)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    if resume:
        config = _going_on(run, config)
    supervisor = Supervisor(run, config)
    supervisor.install_signals()
    try:
        return supervisor.main()
    except Exception:  # noqa: BLE001 - an error in this program
        with contextlib.suppress(OSError):
            traceback.print_exc()
        # A regular exit would wait for the trainer, for ever. It sees that its supervisor is gone, saves and ends.
        os._exit(EXIT_FAILED)


def _going_on(run: RunDir, config: RunConfig) -> RunConfig:
    """`config` from the run's own newest checkpoint on; where it has none yet, as it began."""
    if not read_index(run.checkpoints):
        return config
    return settings.replace(config, resume_from=str(run.directory))


class Supervisor:
    """State of one run; all methods are called on the main thread unless they say otherwise."""

    def __init__(self, run: RunDir, config: RunConfig) -> None:
        self._run = run
        self._config = config
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._record = RecordWriter(run.events)
        self._server = Server(run, self._on_command_thread)
        self._status = StatusFile(run, config, str(self._server.path))
        self._log = TrainerLog(run.trainer_log)
        self._advisor = Advisor()
        self._autotune = Autotune()
        self._phase = Phase.STARTING
        self._hints: tuple[str, ...] = ()
        self._told: set[str] = set()
        self._trainer: TrainerProcess | None = None
        self._loggers: Loggers | None = None
        self._said: RunEnded | None = None
        self._exited = False
        self._stop_asked = False
        self._retries = Retries()
        self._watchdog = Watchdog(config.monitor.hang_seconds)
        self._stop_now_deadline = float("inf")
        self._polled = time.monotonic()

    def install_signals(self) -> None:
        """A hang-up is none of this run's business; the others ask it to stop after a checkpoint."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in STOPPING:
            signal.signal(number, self._on_signal)
        preemption.received()

    def _on_signal(self, number: int, _frame: object) -> None:
        # SimpleQueue.put is reentrant, which is what a signal handler needs.
        sender = signal.Signals(number).name
        preempt = number in PREEMPTING
        self._inbox.put(lambda: self._take_command(Stop(checkpoint=True, preempt=preempt, sender=sender)))

    def main(self) -> int:
        """Run to the end."""
        oom_before = endings.oom_kills()
        self._status.write()
        machine = inspect_machine()
        self._announce(machine)
        self._start_loggers()
        sampler = self._start_sampler()
        try:
            self._train_once(self._config)
            ended = self._outcome(oom_before)
            while self._config.checkpoint.auto_resume and self._starts_again(ended):
                oom_before = endings.oom_kills()
                self._train_once(_going_on(self._run, self._config))
                ended = self._outcome(oom_before)
        finally:
            sampler.set()
        self._end(ended)
        return 0

    def _train_once(self, config: RunConfig) -> None:
        """One life of a trainer, from its start to its end."""
        self._said, self._exited, self._stop_now_deadline = None, False, float("inf")
        try:
            self._trainer = TrainerProcess(self._run, config, on_event=self._on_event_thread)
        except OSError as error:
            self._trainer, self._said = None, endings.not_started(error)
            return
        self._trainer.watch(lambda: self._inbox.put(self._on_trainer_exit))
        self._loop(lambda: self._exited)
        # It is gone, and no longer watched; another one is watched anew.
        self._watchdog = Watchdog(self._config.monitor.hang_seconds)

    def _starts_again(self, ended: RunEnded) -> bool:
        """After a crash: wait, and say whether the trainer is to be started again."""
        wait = None if self._stop_asked else self._retries.after(ended)
        if wait is None:
            return False
        text = f"{ended.reason}; auto_resume: trying again in {wait:g} s (try {self._retries.tried} of {TRIES})"
        self._write(Notice(level="error", text=text, source="supervisor"))
        self._write(PhaseChanged(phase=Phase.STARTING))
        due = time.monotonic() + wait
        self._loop(lambda: self._stop_asked or time.monotonic() >= due)
        return not self._stop_asked

    def _loop(self, done: Callable[[], bool]) -> None:
        while not done():
            try:
                self._inbox.get(timeout=TICK_SECONDS)()
                while not done():
                    self._inbox.get_nowait()()
            except queue.Empty:
                pass
            self._tick()

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._polled >= TICK_SECONDS:
            for line in self._log.poll(now - self._polled):
                self._write(line)
            self._polled = now
        self._record.flush()
        self._status.write_if_due()
        for notice in self._loggers.check() if self._loggers is not None else ():
            self._write(notice)
        if told := self._watchdog.check(now):
            self._write(Notice(level="warning", text=told, source="supervisor"))
        if now > self._stop_now_deadline and self._trainer is not None:
            self._stop_now_deadline = float("inf")
            self._trainer.kill()

    # What happened, in the order of a run.

    def _announce(self, machine: Machine) -> None:
        plan = read_plan(self._run)
        self._write(
            RunStarted(
                run_id=self._run.id,
                settings=settings.flatten(self._config),
                origins=plan.origins,
                host=machine.hostname,
                pid=os.getpid(),
                boot_id=machine.boot_id,
                python=platform.python_version(),
                version=VERSION,
                gpus=tuple(gpu.name for gpu in machine.gpus),
                usable_cores=machine.usable_cores,
                memory_limit=machine.memory_limit,
                forecast=plan.forecast,
            )
        )
        for warning in plan.warnings:
            self._write(Notice(level="warning", text=warning, source="plan"))
        self._write(PhaseChanged(phase=Phase.STARTING))

    def _start_loggers(self) -> None:
        try:
            self._loggers = Loggers(self._run, choice.chosen(self._config.monitor.loggers))
        except OSError as error:
            self._write(Notice(level="warning", text=f"no logger can be started: {error}", source="supervisor"))

    def _write(self, event: AnyEvent) -> None:
        """Record, broadcast, learn from."""
        event, line = self._record.append(event)
        self._server.broadcast.put(event.seq, line)
        self._status.learn(event)
        self._advisor.feed(event)
        self._autotune.feed(event)
        if isinstance(event, PhaseChanged):
            self._phase = event.phase

    def _advise(self) -> None:
        hints = self._advisor.hints()
        shown = tuple(f"{hint.id} {hint.severity} {hint.title}" for hint in hints)
        if shown != self._hints:
            self._hints = shown
            self._write(HintsChanged(hints=hints))
        if self._config.monitor.autotune and self._phase is Phase.TRAINING:
            tune = self._autotune.next(hints)
            if tune is not None:
                self._take_command(tune)

    def _take_event(self, raw: bytes) -> None:
        event = decode(raw)
        if event is None:
            self._write(
                Notice(level="error", text="the trainer sent an event that cannot be read", source="supervisor")
            )
        elif isinstance(event, RunEnded):
            # Only the end of the process is the end of the run.
            self._said = event
        else:
            if told := self._watchdog.hear(event, time.monotonic()):
                self._write(Notice(level="info", text=told, source="supervisor"))
            self._write(event)

    def _take_sample(self, sample: HardwareSample, csv: CsvLog | None) -> None:
        self._write(sample)
        if csv is not None:
            try:
                csv.append(sample)
            except OSError as error:
                self._tell_once(f"resources.csv cannot be written: {error.strerror}; the record has the samples too")
        self._advise()

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._write(Notice(level="warning", text=text, source="supervisor"))

    def _take_command(self, command: AnyCommand) -> None:
        name = type(command).__name__.lower()
        answer = "handed to the trainer"
        if self._trainer is None:
            answer = "the trainer is not there yet"
        elif not self._trainer.send(command):
            answer = "the trainer is gone"
        if isinstance(command, Stop):
            self._stop_asked = True
            name = "stop after a checkpoint" if command.checkpoint else "stop now"
            self._status.stopping()
            self._write(PhaseChanged(phase=Phase.STOPPING))
            if not command.checkpoint:
                self._stop_now_deadline = min(self._stop_now_deadline, time.monotonic() + STOP_NOW_SECONDS)
        self._write(CommandTaken(command=name, sender=plain(command.sender, 120), answer=answer))

    def _on_trainer_exit(self) -> None:
        assert self._trainer is not None
        # Whatever the trainer still sent is taken before its end is told.
        for raw in self._trainer.drain():
            self._take_event(raw)
        self._exited = True

    def _outcome(self, oom_before: int) -> RunEnded:
        """How the trainer ended; `oom_before`: the kernel's OOM kills when it was started."""
        trainer = self._trainer
        for line in self._log.poll(TICK_SECONDS):
            self._write(line)
        return endings.describe(
            self._said,
            trainer.exit_code if trainer is not None else None,
            stop_now=trainer is not None and trainer.killed_by_us,
            oom_killed=endings.oom_kills() > oom_before,
            step=self._status.step,
        )

    def _end(self, ended: RunEnded) -> None:
        self._write(PhaseChanged(phase=Phase.ENDED))
        # Whoever reads the last event may look at the status next.
        self._status.learn(ended)
        self._status.write()
        self._write(ended)
        self._wait_for_room()
        # What was written is as durable as this disk can make it.
        with contextlib.suppress(OSError):
            self._record.close()
        self._log.close()
        self._server.close()
        if self._loggers is not None:
            self._loggers.leave()

    def _wait_for_room(self) -> None:
        """The last events wait for a full disk to have room again; dashboards have them already."""
        deadline = time.monotonic() + LINGER_SECONDS
        while not self._record.flush() and time.monotonic() < deadline:
            time.sleep(TICK_SECONDS)
        self._status.write()

    # Other threads: they only put work into the inbox.

    def _on_event_thread(self, raw: bytes) -> None:
        self._inbox.put(lambda: self._take_event(raw))

    def _on_command_thread(self, raw: bytes) -> None:
        try:
            command = decode_command(raw)
        except (msgspec.DecodeError, UnicodeError) as error:
            text = f"a command was not understood: {plain(str(error), 200)}"
            self._inbox.put(lambda: self._write(Notice(level="warning", text=text, source="supervisor")))
            return
        self._inbox.put(lambda: self._take_command(command))

    def _start_sampler(self) -> threading.Event:
        """Begin to sample the hardware; setting the returned event ends it."""
        stop = threading.Event()
        threading.Thread(target=self._sample_thread, args=(stop,), name="sampler", daemon=True).start()
        return stop

    def _sample_thread(self, stop: threading.Event) -> None:
        interval = self._config.monitor.sample_seconds
        # The built-in images lie in the cache; their disk is the one that is read.
        data = Path(self._config.data.data_dir) if self._config.data.data_dir else cache_home()
        with contextlib.ExitStack() as stack:
            sampler = stack.enter_context(contextlib.closing(Sampler(run_pids=self._run_pids, data_path=data)))
            csv = None
            if self._config.monitor.resources_csv:
                csv = stack.enter_context(contextlib.closing(CsvLog(self._run.directory / "resources.csv")))
            due = time.monotonic()
            while not stop.is_set():
                sample = sampler.sample()
                self._inbox.put(lambda sample=sample: self._take_sample(sample, csv))  # type: ignore[misc]
                due = max(due + interval, time.monotonic())
                stop.wait(due - time.monotonic())

    def _run_pids(self) -> tuple[int, ...]:
        return (os.getpid(),)
