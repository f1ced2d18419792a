"""The supervisor process of one run: starts the trainer, writes the record, serves dashboards, reports the end.

Only the main thread changes state. The other threads (events from the trainer, hardware sampler, commands
from dashboards, wait for the trainer's exit) put work into the main thread's queue.
It never imports torch and never forks.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from gputrain.engine.alerts.alert_process import AlertProcess, start_alerts
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.diagnosis.advisor import Advisor, is_news
from gputrain.engine.diagnosis.autotune import Autotune
from gputrain.engine.events import (
    AnyEvent,
    CommandTaken,
    EpochEnded,
    HardwareSample,
    Hint,
    HintsChanged,
    Notice,
    Outcome,
    Phase,
    PhaseChanged,
    RunEnded,
    Traced,
    Tuned,
    decode,
)
from gputrain.engine.events.commands import AnyCommand, ProfileCommand, StacksCommand, StopCommand, decode_command
from gputrain.engine.hardware.machine import Machine, inspect_machine
from gputrain.engine.launching.kept_changes import KeptChanges
from gputrain.engine.loggers import logger_choice
from gputrain.engine.loggers.logger_processes import LoggerProcesses
from gputrain.engine.monitor.gpus.gpu_health import GpuHealth
from gputrain.engine.processes import scheduler_signals
from gputrain.engine.processes.main_thread_queue import TICK_SECONDS, MainThreadQueue
from gputrain.engine.processes.scheduler_signals import PREEMPTING, STOPPING
from gputrain.engine.processes.watchdog import Watchdog
from gputrain.engine.runs.event_channel import Server
from gputrain.engine.runs.event_log import RecordWriter
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.runs.status_file import StatusFile
from gputrain.engine.supervision import exit_reasons, orphan_trainer
from gputrain.engine.supervision import startup_events as opening
from gputrain.engine.supervision.auto_resume import AutoResume
from gputrain.engine.supervision.child_process import ChildProcess, ExitReason, StartChild
from gputrain.engine.supervision.epoch_energy import EpochEnergy
from gputrain.engine.supervision.machine_sampling_thread import MachineSampling
from gputrain.engine.supervision.requests.requested_stacks import RequestedStacks
from gputrain.engine.supervision.requests.requested_traces import RequestedTraces
from gputrain.engine.supervision.stop_now import KillTimer
from gputrain.engine.supervision.trainer_log import TrainerLog
from gputrain.engine.supervision.trainer_process import TrainerProcess

DISK_FULL_WAIT_SECONDS = 600.0
"""How long an ended run waits for space on a full disk."""


class Supervisor:
    """State of one run. Call all methods on the main thread, except those named `…_thread`."""

    def __init__(
        self,
        run: RunDir,
        config: RunConfig,
        *,
        resume: bool = False,
        start_child: StartChild | None = None,
        exit_reason: ExitReason = exit_reasons.exit_reason,
        first_events: Callable[[Machine], Iterable[AnyEvent]] | None = None,
    ) -> None:
        """`resume`: continue from the run's newest good checkpoint. The others are for a user's script."""
        self._run = run
        self._start_child = start_child or (lambda config, on_event: TrainerProcess(run, config, on_event))
        self._exit_reason = exit_reason
        self._first_events = first_events or (lambda machine: opening.first_events(run, config, machine))
        self._config = config
        self._resume = resume
        self._changes = KeptChanges(run, config)
        self._work_queue = MainThreadQueue()
        self._record = RecordWriter(run.events)
        self._server = Server(run, self._on_command_thread)
        self._status = StatusFile(run, config, str(self._server.path))
        self._log = TrainerLog(run.trainer_log)
        self._sampling = MachineSampling(run.directory, config)
        self._advisor = Advisor()
        self._autotune = Autotune()
        self._phase = Phase.STARTING
        self._hints: tuple[Hint, ...] | None = None
        self._gpu_health = GpuHealth()
        self._epoch_energy = EpochEnergy()
        self._trainer: ChildProcess | None = None
        self._loggers: LoggerProcesses | None = None
        self._alerts: AlertProcess | None = None
        self._reported: RunEnded | None = None
        self._exited = False
        self._stop_requested = False
        self.ended: RunEnded | None = None
        """How the run ended."""
        restarts = config.distributed.max_restarts if config.devices > 1 or config.distributed.hosts else 0
        self._retries = AutoResume(every_crash=config.checkpoint.auto_resume, lost_ranks=restarts)
        self._watchdog = Watchdog(config.monitor.hang_seconds, run.directory)
        self._kill_timer = KillTimer()
        self._polled = time.monotonic()
        script = start_child is not None and run.command.exists()
        self._stacks = RequestedStacks(run.directory, self._put_event, script=script)
        self._traces = RequestedTraces(run, self._put_trace, config.engine)

    def install_signals(self) -> None:
        """Ignore SIGHUP; the signals in `STOPPING` request a stop after a checkpoint."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in STOPPING:
            signal.signal(number, self._on_signal)
        scheduler_signals.received()

    def _on_signal(self, number: int, _frame: object) -> None:
        # A script gets the same signal: it may save on SIGUSR1, and would end by another one.
        stop = StopCommand(preempt=number in PREEMPTING, signal=number, sender=signal.Signals(number).name)
        self._work_queue.put(lambda: self._take_command(stop))

    def main(self) -> int:
        """Train until the run ends. Returns the exit code 0."""
        self._status.write()
        for event in self._first_events(inspect_machine()):
            self._write(event)
        self._start_loggers()
        self._sampling.start(lambda sample: self._work_queue.put(lambda: self._take_sample(sample)))
        try:
            ended = self._wait_for_orphan() or self._train_once(self._resume)
            while self._wait_for_restart(ended):
                ended = self._train_once(True)
        finally:
            self._sampling.stop()
        self._end(ended)
        return 0

    def _wait_for_orphan(self) -> RunEnded | None:
        """Wait for an orphan trainer of this run to end. Returns the run's end if it cannot start, else None."""
        why = orphan_trainer.terminate(self._run, self._warn, self._wait)
        if self._stop_requested:
            reason = "stopped on request, before training resumed"
            return RunEnded(outcome=Outcome.STOPPED, reason=reason, step=self._status.step)
        return RunEnded(outcome=Outcome.FAILED, reason=why, step=self._status.step) if why else None

    def _wait(self, seconds: float, done: Callable[[], bool]) -> None:
        """Return when `done()` is true, a stop was requested, or `seconds` are over."""
        due = time.monotonic() + seconds
        self._work_queue.do(lambda: self._stop_requested or done() or time.monotonic() >= due, self._tick)

    def _notify(self, level: Literal["info", "warning", "error"], text: str) -> None:
        self._write(Notice(level=level, text=text, source="supervisor"))

    def _warn(self, text: str) -> None:
        self._notify("warning", text)

    def _train_once(self, resume: bool) -> RunEnded:
        """Run one trainer process to its end; `resume`: from the run's newest checkpoint."""
        oom_before = exit_reasons.oom_kills()
        config = self._config
        if resume:
            from gputrain.engine.launching.resume_run import resume_config  # it plans: no first start waits for that

            config = resume_config(self._run, self._changes.config)
        self._reported, self._exited, self._kill_timer = None, False, KillTimer()
        try:
            self._trainer = self._start_child(config, self._on_event_thread)
        except OSError as error:
            self._trainer, self._reported = None, exit_reasons.not_started(error)
            return self._outcome(oom_before)
        self._watchdog.began(self._trainer.pid, time.monotonic())
        self._trainer.watch(lambda: self._work_queue.put(self._on_trainer_exit))
        self._work_queue.do(lambda: self._exited, self._tick)
        self._watchdog = Watchdog(self._config.monitor.hang_seconds, self._run.directory)
        return self._outcome(oom_before)

    def _wait_for_restart(self, ended: RunEnded) -> bool:
        """After a crash: wait for the restart delay. Returns whether to restart the trainer."""
        wait = None if self._stop_requested else self._retries.after(ended)
        if wait is None:
            return False
        retries = self._retries
        when = f" in {wait:g} s" if wait else ""
        text = f"{ended.reason}; {retries.setting}: trying again{when} (try {retries.tried} of {retries.tries})"
        self._notify("error", text)
        if (tried := self._changes.revert_trial()) is not None:
            self._write(tried)
        self._write(PhaseChanged(phase=Phase.STARTING))
        self._wait(wait, lambda: False)
        return not self._stop_requested

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._polled >= TICK_SECONDS:
            for line in self._log.poll(now - self._polled):
                self._write(line)
            self._polled = now
        self._record.flush()
        self._status.write_if_due()
        for watched in (self._loggers, self._alerts):
            for notice in watched.check() if watched is not None else ():
                self._write(notice)
        if (waits := self._traces.check(self._phase, now)) is not None:
            self._write(waits)
        if warning := self._watchdog.check(now):
            self._warn(warning)
        if self._trainer is not None and self._kill_timer.is_due(now):
            self._trainer.kill()

    def _start_loggers(self) -> None:
        try:
            self._loggers = LoggerProcesses(self._run, logger_choice.chosen(self._config.monitor.loggers))
        except OSError as error:
            self._warn(f"no logger can be started: {error}")
        if self._config.monitor.alerts:
            self._alerts, warning = start_alerts(self._run)
            if warning:
                self._warn(warning)

    def _write(self, event: AnyEvent) -> None:
        """Record an event, send it to dashboards, and update status, advisor and autotune."""
        event, line = self._record.append(event)
        self._server.broadcast.put(event.seq, line)
        self._status.learn(event)
        self._advisor.feed(event)
        self._autotune.feed(event)
        if isinstance(event, PhaseChanged):
            self._phase = event.phase

    def _advise(self) -> None:
        hints = self._advisor.hints()
        # Report an empty list of hints once enough was measured to know it.
        if (hints or self._advisor.has_judged) and is_news(hints, self._hints):
            self._hints = hints
            self._write(HintsChanged(hints=hints))
        training = self._config.monitor.autotune and self._phase is Phase.TRAINING
        if training and (tune := self._autotune.next(hints)) is not None:
            self._take_command(tune)

    def _take_event(self, raw: bytes) -> None:
        event = decode(raw)
        if event is None:
            self._notify("error", "the trainer sent an event that cannot be read")
        elif isinstance(event, RunEnded):
            self._reported = event  # the run ends when the process does
        elif isinstance(event, Traced):
            self._take_trace(event)
        else:
            if recovered := self._watchdog.hear(event, time.monotonic()):
                self._notify("info", recovered)
            # Save kept settings before dashboards get the event.
            warning = self._changes.learn(event) if isinstance(event, Tuned) else ""
            if isinstance(event, EpochEnded):
                event = self._epoch_energy.ended(event)
            self._write(event)
            if warning:
                self._warn(warning)

    def _take_sample(self, sample: HardwareSample) -> None:
        self._epoch_energy.take(sample)
        self._write(sample)
        for level, text in self._gpu_health.take(sample):
            self._write(Notice(level=level, text=plain(text, 300), source="monitor"))
        if warning := self._sampling.add_to_table(sample):
            self._warn(warning)
        self._advise()

    def _take_command(self, command: AnyCommand) -> None:
        name = str(type(command).__struct_config__.tag)
        if isinstance(command, StacksCommand):
            running = self._trainer if not self._exited else None
            answer = self._stacks.take(command.id, running.pid if running is not None else None)
        elif isinstance(command, ProfileCommand):
            answer = self._traces.take(command, self._trainer if not self._exited else None, time.monotonic())
        else:
            answer = self._trainer.send(command) if self._trainer is not None else "the trainer has not started yet"
        if isinstance(command, StopCommand):
            self._stop_requested = True
            name = "stop after a checkpoint" if command.checkpoint else "stop now"
            self._status.stopping()
            self._write(PhaseChanged(phase=Phase.STOPPING))
            if not command.checkpoint:
                self._kill_timer.start(time.monotonic())
        self._write(CommandTaken(command=name, sender=plain(command.sender, 120), answer=answer))

    def _on_trainer_exit(self) -> None:
        assert self._trainer is not None
        for raw in self._trainer.drain():
            self._take_event(raw)
        self._exited = True
        if (lost := self._traces.ended()) is not None:
            self._write(lost)

    def _outcome(self, oom_before: int) -> RunEnded:
        """How the trainer ended; `oom_before`: the number of OOM kills when it started."""
        trainer = self._trainer
        for line in self._log.poll(TICK_SECONDS):
            self._write(line)
        return self._exit_reason(
            self._reported,
            trainer.exit_code if trainer is not None else None,
            stop_now=trainer is not None and trainer.killed_on_request,
            oom_killed=exit_reasons.oom_kills() > oom_before,
            step=self._status.step,
        )

    def _end(self, ended: RunEnded) -> None:
        self.ended = ended
        self._write(PhaseChanged(phase=Phase.ENDED))
        self._status.learn(ended)
        self._status.write()
        self._write(ended)
        self._wait_for_disk_space()
        with contextlib.suppress(OSError):  # fsync may fail on a full disk
            self._record.close()
        self._log.close()
        self._server.close()
        if self._loggers is not None:
            self._loggers.close()

    def _wait_for_disk_space(self) -> None:
        """Wait for space on a full disk to write the last events; dashboards have them already."""
        deadline = time.monotonic() + DISK_FULL_WAIT_SECONDS
        while not self._record.flush() and time.monotonic() < deadline:
            time.sleep(TICK_SECONDS)
        self._status.write()

    def _take_trace(self, event: Traced) -> None:
        if self._traces.learn(event, time.monotonic()):
            self._write(event)

    def _put_trace(self, event: Traced) -> None:
        self._work_queue.put(lambda: self._take_trace(event))

    def _put_event(self, event: AnyEvent) -> None:
        self._work_queue.put(lambda: self._write(event))

    def _on_event_thread(self, raw: bytes) -> None:
        self._work_queue.put(lambda: self._take_event(raw))

    def _on_command_thread(self, raw: bytes) -> None:
        try:
            command = decode_command(raw)
        except (msgspec.DecodeError, UnicodeError) as error:
            text = f"a command cannot be read: {plain(str(error), 200)}"
            self._work_queue.put(lambda: self._warn(text))
            return
        self._work_queue.put(lambda: self._take_command(command))
