"""Live tuning: changes num_workers, prefetch_factor, pin_memory, cache … of a running training.

A change is made between two updates, its effect on the rate is measured, and it is kept or reverted. The training does
not depend on it: order and content of batches are functions of (seed, epoch, index), and the new loader starts at the
next batch. With a cache the order is the same, and the pixels are those of the cached format.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events.commands import LIVE_SETTINGS, TuneCommand
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.shared_loop.keep_or_revert import MeasuredRate, RateMeter, tuned, worth_keeping

LEAST_UPDATES = 20
"""Minimum updates of a measurement."""
_SPARE = 2


@dataclass(slots=True)
class _TrialChange:
    """A change that is being measured."""

    tune: TuneCommand
    was: dict[str, Any]
    before: MeasuredRate
    settle: int
    """Updates still to leave out: their batches were prepared before the change."""
    burst: int
    """Updates whose batches become ready together."""


def _burst(config: RunConfig) -> int:
    return max(1, round(config.data.num_workers / config.optim.accumulation_steps))


class LiveTuner:
    """Measures the rate of updates, and keeps or reverts changes."""

    def __init__(self, reporter: EventReporter) -> None:
        self._reporter = reporter
        self._rates = RateMeter()
        self._last: float | None = None
        self._images = 0
        self.epoch_updates = 1
        """Updates per epoch."""
        self._asked: TuneCommand | None = None
        self._trial: _TrialChange | None = None
        self.pending: dict[str, Any] = {}
        """Settings to apply before the next update; empty for none."""

    def skip(self) -> None:
        """Leave out the time since the last update (a checkpoint, a pause)."""
        self._last = time.perf_counter()

    def _least(self, changes: Mapping[str, Any]) -> int:
        """Minimum updates to compare; the effect of persistent_workers shows only over several epochs."""
        return max(LEAST_UPDATES, 2 * self.epoch_updates) if "persistent_workers" in changes else LEAST_UPDATES

    def ask(self, tune: TuneCommand, config: RunConfig, step: int) -> None:
        """Request a change; refused with a reason if it can't be made or measured now."""
        never = self._never(tune, config)
        why = never or self._not_yet(tune)
        if why:
            self._reporter.send(tuned("refused", tune, {}, step, text=why, later=not never))
            return
        self._asked, self.pending = tune, dict(tune.changes)

    def _not_yet(self, tune: TuneCommand) -> str:
        """Why a change can't be made or measured now; empty if it can."""
        if self._trial is not None or self.pending:
            return "another change is being measured"
        if not self._rates.enough(self._least(tune.changes)):
            return "too few steps so far to compare with; try again in a moment"
        return ""

    def _never(self, tune: TuneCommand, config: RunConfig) -> str:
        """Why a change is never possible; empty if it is."""
        not_live = [name for name in tune.changes if name not in LIVE_SETTINGS]
        if not_live or not tune.changes:
            return f"{', '.join(not_live) or 'nothing'} can't be changed in a running training"
        now = settings.flatten(config)
        return "the run already has this setting" if all(now[name] == to for name, to in tune.changes.items()) else ""

    def wanted(self, config: RunConfig) -> RunConfig:
        """The configuration with the pending settings. Raises BadInput."""
        return settings.build({**settings.flatten(config), **self.pending})

    def failed(self, error: BadInput, step: int) -> None:
        """The pending change failed; the old settings stay in effect."""
        tune = self._asked or (self._trial.tune if self._trial else TuneCommand(changes={}))
        self._asked, self._trial, self.pending = None, None, {}
        self._reporter.send(tuned("refused", tune, {}, step, text=str(error)))

    def changed(self, before: RunConfig, config: RunConfig, step: int) -> None:
        """The pending change is in effect. A cache is measured after it was filled for an epoch."""
        filling = self.epoch_updates if "cache" in self.pending else 0
        was = {name: settings.flatten(before)[name] for name in self.pending}
        self.pending = {}
        if self._asked is not None:
            data = config.data
            settle = data.num_workers * data.prefetch_factor + _SPARE + filling
            rate = self._rates.rate(self._least(was), _burst(before))
            self._trial, self._asked = _TrialChange(self._asked, was, rate, settle, _burst(config)), None
            self._reporter.send(tuned("trying", self._trial.tune, was, step))
        self._rates = RateMeter()
        self.skip()

    def update_done(self, images: int, step: int) -> None:
        """An update is done; `images`: images trained on so far."""
        now = time.perf_counter()
        if self._last is not None:
            self._count(now - self._last, images - self._images, step)
        self._last, self._images = now, images

    def _count(self, seconds: float, images: int, step: int) -> None:
        trial = self._trial
        if trial is not None and trial.settle > 0:
            trial.settle -= 1
            return
        self._rates.updates.append((seconds, images))
        if trial is not None and self._rates.enough(self._least(trial.was)):
            self._judge(trial, step)

    def _judge(self, trial: _TrialChange, step: int) -> None:
        after = self._rates.rate(self._least(trial.was), trial.burst)
        self._trial = None
        keep = worth_keeping(trial.before, after, trial.tune.aim)
        if not keep:
            self.pending = dict(trial.was)
        self._reporter.send(tuned("kept" if keep else "reverted", trial.tune, trial.was, step, (trial.before, after)))
