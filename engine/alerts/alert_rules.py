"""Which events of a run's record are worth an alert. Pure: times come from the caller."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gputrain.engine.alerts.alert import Alert, Kind
from gputrain.engine.alerts.alert_settings import AlertSettings
from gputrain.engine.alerts.pace import Pace
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import size
from gputrain.engine.events import (
    AnyEvent,
    CheckpointSaved,
    EpochEnded,
    HardwareSample,
    ModelReady,
    Notice,
    Outcome,
    Phase,
    PhaseChanged,
    RunEnded,
    RunStarted,
    Steps,
    Tuned,
    Validated,
)

_NONFINITE = re.compile(
    r"update of step \d+ was skipped|updates were skipped so far|loss.* is NaN or Inf", re.IGNORECASE
)
"""Notices of `shared_loop.nonfinite_loss`, and of `user_script.script_rank`."""
_HEAT = frozenset(("hardware slowdown", "hardware thermal", "software thermal", "power brake"))
_HEAT_SAMPLES = 30
"""Samples in a row with such a reason: short ones are normal under load."""
_ENDS: dict[Outcome, tuple[Kind, str]] = {
    Outcome.FINISHED: ("finished", "finished"),
    Outcome.STOPPED: ("stopped", "was stopped"),
    Outcome.FAILED: ("failed", "failed"),
    Outcome.KILLED: ("failed", "was killed"),
}
_WORKS = frozenset((Phase.TRAINING, Phase.VALIDATING, Phase.SAVING))


class AlertRules:
    """Follows one run. `feed` gets its events in order, `tick` the time between them."""

    def __init__(self, settings: AlertSettings, run: str, name: str, started: float) -> None:
        """`started`: the caller's clock in seconds, as in `tick`."""
        self._settings = settings
        self._about: dict[str, Any] = {"run": run, "name": plain(name, 80)}
        self._pace = Pace(settings.slow_percent)
        self._works = False
        self._progress = started
        self._stalled = self._nonfinite = self._full = False
        self._lost: set[int] = set()
        self._hot: dict[int, int] = {}

    @property
    def _label(self) -> str:
        return str(self._about["name"] or self._about["run"])

    def _alert(self, kind: Kind, what: str, text: str, **more: Any) -> Alert:
        return Alert(kind=kind, title=f"{self._label} {what}", text=plain(text, 1000), **{**self._about, **more})

    def feed(self, event: AnyEvent, now: float) -> Iterator[Alert]:
        """The alerts that `event` causes."""
        self._learn(event, now)
        match event:
            case Steps():
                if self._stalled:
                    self._stalled = False
                    yield self._alert("recovered", "goes on", f"step {event.step} is done")
                if slow := self._pace.feed(event):
                    yield self._slow(*slow, event.unit)
            case Notice(text=text) if not self._nonfinite and _NONFINITE.search(text):
                self._nonfinite = True
                yield self._alert("nonfinite_loss", "has a NaN or Inf loss", text)
            case HardwareSample():
                yield from self._gpus(event)
            case RunEnded():
                yield self._end(event)
            case _:
                pass

    def _learn(self, event: AnyEvent, now: float) -> None:
        match event:
            case RunStarted():
                self._about["host"] = event.host
                self._pace.restart()
            case Steps():
                rate = event.images_per_second
                self._about |= {"step": event.step, "epoch": event.epoch + 1, "images_per_second": rate}
                self._about["loss"] = event.loss if event.loss is not None else self._about.get("loss")
                self._works = True
            case PhaseChanged():
                self._works = event.phase in _WORKS
            case ModelReady() | Tuned():
                self._pace.restart()
            case _:
                pass
        if isinstance(event, Steps | PhaseChanged | EpochEnded | Validated | CheckpointSaved | RunStarted):
            self._progress = now

    def _slow(self, rate: float, usual: float, unit: str) -> Alert:
        text = (
            f"{rate:.3g} {unit}/s for two minutes, {usual:.3g} before. "
            f"See why: gputrain-tui diagnose {self._about['run']}"
        )
        return self._alert("slow", f"is {1 - rate / usual:.0%} slower than before", text)

    def _gpus(self, sample: HardwareSample) -> Iterator[Alert]:
        for gpu in sample.gpus or ():
            if gpu.error and gpu.index not in self._lost:
                self._lost.add(gpu.index)
                yield self._alert("gpu_lost", f"cannot read GPU {gpu.index}", f"GPU {gpu.index}: {gpu.error}")
            elif not gpu.error:
                self._lost.discard(gpu.index)
            reasons = [reason for reason in gpu.throttle if reason in _HEAT]
            self._hot[gpu.index] = self._hot.get(gpu.index, 0) + 1 if reasons else 0
            if self._hot[gpu.index] == _HEAT_SAMPLES:
                heat = f" at {gpu.temperature:.0f} °C" if gpu.temperature is not None else ""
                what = f"GPU {gpu.index} has lowered its clock for {_HEAT_SAMPLES} samples: {', '.join(reasons)}{heat}"
                yield self._alert("gpu_throttled", f"runs on a throttled GPU {gpu.index}", what)

    def _end(self, event: RunEnded) -> Alert:
        kind: Kind
        kind, what = ("preempted", "was preempted") if event.preempted else _ENDS[event.outcome]
        code = event.own_code if event.own_code is not None else event.exit_code
        if "NonFiniteLossError" in event.error:
            kind, what = "nonfinite_loss", "ended: NaN or Inf loss"
        return self._alert(kind, what, event.reason, exit_code=code, step=event.step or self._about.get("step"))

    def tick(self, now: float, free_bytes: int | None = None) -> Iterator[Alert]:
        """The alerts that come with time. `free_bytes`: room on the disk of the run directory."""
        silent = now - self._progress
        if self._works and not self._stalled and silent >= self._settings.stalled_minutes * 60 > 0:
            self._stalled = True
            text = f"no step for {silent / 60:.0f} min. Where it waits: gputrain-tui tail {self._about['run']}"
            yield self._alert("stalled", "makes no progress", text)
        limit = self._settings.disk_free_gib * 2**30
        if free_bytes is not None and free_bytes < limit and not self._full:
            self._full = True
            text = f"{size(free_bytes)} left for checkpoints. Free some: gputrain-tui prune --total 50G --dry-run"
            yield self._alert("disk_full", "has little disk space left", text)
        elif free_bytes is not None and free_bytes > 2 * limit:
            self._full = False

    def died(self) -> Alert:
        """The run has no supervisor any more, and its record has no end."""
        text = f"its supervisor was killed or the machine restarted. Continue: gputrain-tui resume {self._about['run']}"
        return self._alert("died", "died", text)
