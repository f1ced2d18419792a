"""Writes ``status.json`` of a run from its events, at most once a second."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import msgspec

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events import (
    AnyEvent,
    DataReady,
    ModelReady,
    Outcome,
    Phase,
    PhaseChanged,
    RunEnded,
    Steps,
    Validated,
)
from gputrain.engine.runs.run_directory import RunDir, State, Status

WRITE_SECONDS = 1.0
_ENDS = {
    Outcome.FINISHED: State.FINISHED,
    Outcome.STOPPED: State.STOPPED,
    Outcome.FAILED: State.FAILED,
    Outcome.KILLED: State.KILLED,
}


class StatusFile:
    """Keeps ``status.json`` up to date; only the run's supervisor creates one."""

    def __init__(self, run: RunDir, config: RunConfig, socket: str) -> None:
        self._run = run
        self._written = 0.0
        self._script = run.command.exists()
        now = time.time()
        before = run.written_status()
        self._status = Status(
            state=State.STARTING,
            started=now,
            heartbeat=now,
            pid=os.getpid(),
            pid_started=process_started(os.getpid()),
            boot_id=boot_id(),
            name=config.name,
            recipe=config.recipe,
            profile=config.profile,
            # The settings of a training of ours mean nothing to a script.
            epochs=0 if self._script else config.epochs,
            # A resumed run keeps its best metric.
            metric=before.metric if before else "",
            best=before.best if before else None,
            socket=socket,
        )

    @property
    def step(self) -> int:
        """Steps done, as last reported by the trainer."""
        return self._status.step

    def stopping(self) -> None:
        """Set the state to stopping."""
        self._change(state=State.STOPPING)

    def learn(self, event: AnyEvent) -> None:
        """Update the status from `event`."""
        match event:
            case Steps():
                epoch = -1 if event.wait_unknown else event.epoch
                rate = event.images_per_second
                self._change(step=event.step, epoch=epoch, images_per_second=rate, unit=event.unit)
            case PhaseChanged():
                self._change(phase=event.phase.value, state=self._state_in(event.phase))
            case ModelReady():
                self._change(total_steps=event.total_steps, step=event.start_step)
            case DataReady():
                self._change(state=State.RUNNING)
            case Validated():
                best = event.metrics.get(event.metric) if event.best else self._status.best
                self._change(metric=event.metric, best=best)
            case RunEnded():
                self._change(
                    state=_ENDS[event.outcome], ended=time.time(), reason=event.reason, step=max(event.step, self.step)
                )
            case _:
                pass

    def _state_in(self, phase: Phase) -> State:
        if phase is Phase.PAUSED:
            return State.PAUSED
        if phase is Phase.STOPPING or self._status.state is State.STOPPING:
            return State.STOPPING
        # A script may never make a step.
        if self._script or phase in (Phase.TRAINING, Phase.VALIDATING, Phase.SAVING):
            return State.RUNNING
        return self._status.state

    def _change(self, **changes: object) -> None:
        self._status = msgspec.structs.replace(self._status, **changes)

    def write_if_due(self) -> None:
        """Write if the last write was more than a second ago."""
        if time.monotonic() - self._written >= WRITE_SECONDS:
            self.write()

    def write(self) -> None:
        """Write now. On a full disk the old status stays; attached dashboards still get the events."""
        self._written = time.monotonic()
        self._change(heartbeat=time.time())
        try:
            self._run.write_status(self._status)
        except OSError as error:
            # The supervisor's log may be on the same full disk.
            with contextlib.suppress(OSError):
                print(f"status.json cannot be written: {error}", flush=True)


def boot_id() -> str:
    """Id of the host's current boot; empty if the kernel does not provide it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def process_started(pid: int) -> float:
    """Start of a process in clock ticks since boot (field 22 of ``/proc/PID/stat``); 0 if unknown."""
    try:
        return float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return 0.0
