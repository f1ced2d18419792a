"""Changes of a running training's data loading: made between two updates, measured, and kept or taken back.

What is trained does not depend on workers, prefetch or pinning: order and content of batches are functions of (seed,
epoch, index), and the new loader goes on with the batch after the last one that was trained on. With a cache the order
is the same, and the pixels are those of the cached form.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.events import Tuned
from gputrain.engine.events.commands import LIVE_SETTINGS, TuneCommand
from gputrain.engine.processes.event_reporter import EventReporter

LEAST_UPDATES, LEAST_SECONDS = 20, 4.0
"""What a rate is taken from, at least both; fewer updates say little, and slow samples come seldom."""
LEAST_GAIN, MOST_LOSS = 0.03, 0.03
"""Share of the rate that a change for speed must gain, and that one for memory may cost."""
_ERRORS = 2.0
"""Standard errors that a gain must exceed."""
_BLOCKS, _LEAST_BLOCKS = 20, 5
"""Groups of updates that an error is taken from, if there are so many."""
_NEWEST, _KEPT = 200, 5000
"""Updates that a rate is of where there are more, and that are remembered."""
_SPARE = 2


@dataclass(frozen=True, slots=True)
class MeasuredRate:
    """Images per second over some updates, with the standard error of the mean."""

    value: float
    error: float
    updates: int


@dataclass(slots=True)
class RateMeter:
    """How long the newest updates took."""

    updates: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_KEPT))
    """Seconds and images of each."""

    def enough(self, least: int) -> bool:
        """Whether a rate can be taken from them; of `least` updates at least."""
        return len(self.updates) >= least and math.fsum(one for one, _ in self.updates) >= LEAST_SECONDS

    def rate(self, least: int, burst: int = 1) -> MeasuredRate:
        """The rate of the newest, of `least` at least. `burst`: updates whose batches become ready together.

        Workers that began together end together: one update waits for all of them, and the next ones wait for nothing.
        The spread of single updates would then be many times that of the rate, and where a machine's pace changes from
        second to second it would be less. So the error is that of the means of whole bursts (method of batch means).
        """
        newest = list(self.updates)[-max(least, _NEWEST) :]
        count = len(newest)
        seconds, images = math.fsum(one for one, _ in newest), sum(number for _, number in newest)
        size = max(1, min(burst * math.ceil(count / (_BLOCKS * burst)), count // _LEAST_BLOCKS))
        means = [
            math.fsum(one for one, _ in newest[start : start + size]) / size
            for start in range(count % size, count, size)
        ]
        mean = math.fsum(means) / len(means)
        spread = math.sqrt(math.fsum((one - mean) ** 2 for one in means) / max(1, len(means) - 1))
        value = images / seconds
        return MeasuredRate(value, value * spread / mean / math.sqrt(len(means)), count)


def worth_keeping(before: MeasuredRate, after: MeasuredRate, aim: Literal["speed", "memory"]) -> bool:
    """Whether a change has brought what it was for."""
    gain = after.value - before.value
    noise = _ERRORS * math.hypot(before.error, after.error)
    if aim == "memory":
        return gain >= -max(MOST_LOSS * before.value, noise)
    return gain >= LEAST_GAIN * before.value and gain > noise


@dataclass(slots=True)
class _TrialChange:
    """A change that is being tried."""

    tune: TuneCommand
    was: dict[str, Any]
    before: MeasuredRate
    settle: int
    """Updates that are left out yet: their batches were ready before."""
    burst: int
    """Updates whose batches become ready together."""


def _burst(config: RunConfig) -> int:
    return max(1, round(config.data.num_workers / config.optim.accumulation_steps))


class LiveTuner:
    """Measures the pace of updates, and decides what becomes of changes."""

    def __init__(self, reporter: EventReporter) -> None:
        self._reporter = reporter
        self._pace = RateMeter()
        self._last: float | None = None
        self._images = 0
        self.epoch_updates = 1
        """Updates of an epoch."""
        self._asked: TuneCommand | None = None
        self._trial: _TrialChange | None = None
        self.pending: dict[str, Any] = {}
        """Settings that are to be put into effect before the next update; empty for none."""

    def skip(self) -> None:
        """The time since the last update was spent on something else (a checkpoint, a pause)."""
        self._last = time.perf_counter()

    def _least(self, changes: Mapping[str, Any]) -> int:
        """Updates to compare; workers that outlive an epoch show it only over some epochs."""
        return max(LEAST_UPDATES, 2 * self.epoch_updates) if "persistent_workers" in changes else LEAST_UPDATES

    def ask(self, tune: TuneCommand, config: RunConfig, step: int) -> None:
        """A change is asked for; refused with a reason where it can't be made or judged now."""
        never = self._never(tune, config)
        why = never or self._not_yet(tune)
        if why:
            self._tell("refused", tune, {}, step, text=why, later=not never)
            return
        self._asked, self.pending = tune, dict(tune.changes)

    def _not_yet(self, tune: TuneCommand) -> str:
        """Why a change can't be made or judged now; empty if it can."""
        if self._trial is not None or self.pending:
            return "another change is being tried"
        if not self._pace.enough(self._least(tune.changes)):
            return "too few steps so far to compare with; ask again in a moment"
        return ""

    def _never(self, tune: TuneCommand, config: RunConfig) -> str:
        """Why a change makes no sense at all; empty if it does."""
        others = [name for name in tune.changes if name not in LIVE_SETTINGS]
        if others or not tune.changes:
            return f"{', '.join(others) or 'nothing'} can't be changed in a running training"
        now = settings.flatten(config)
        return "that is how it is already" if all(now[name] == to for name, to in tune.changes.items()) else ""

    def wanted(self, config: RunConfig) -> RunConfig:
        """The configuration with what is pending. Raises BadInput."""
        return settings.build({**settings.flatten(config), **self.pending})

    def failed(self, error: BadInput, step: int) -> None:
        """What is pending could not be put into effect; all is as it was."""
        tune = self._asked or (self._trial.tune if self._trial else TuneCommand(changes={}))
        self._asked, self._trial, self.pending = None, None, {}
        self._tell("refused", tune, {}, step, text=str(error))

    def changed(self, before: RunConfig, config: RunConfig, step: int) -> None:
        """What was pending is in effect. A cache is judged when it has been filled for an epoch."""
        filling = self.epoch_updates if "cache" in self.pending else 0
        was = {name: settings.flatten(before)[name] for name in self.pending}
        self.pending = {}
        if self._asked is not None:
            data = config.data
            settle = data.num_workers * data.prefetch_factor + _SPARE + filling
            rate = self._pace.rate(self._least(was), _burst(before))
            self._trial, self._asked = _TrialChange(self._asked, was, rate, settle, _burst(config)), None
            self._tell("trying", self._trial.tune, was, step)
        self._pace = RateMeter()
        self.skip()

    def update_done(self, images: int, step: int) -> None:
        """An update is done; `images` were trained on so far."""
        now = time.perf_counter()
        if self._last is not None:
            self._count(now - self._last, images - self._images, step)
        self._last, self._images = now, images

    def _count(self, seconds: float, images: int, step: int) -> None:
        trial = self._trial
        if trial is not None and trial.settle > 0:
            trial.settle -= 1
            return
        self._pace.updates.append((seconds, images))
        if trial is not None and self._pace.enough(self._least(trial.was)):
            self._judge(trial, step)

    def _judge(self, trial: _TrialChange, step: int) -> None:
        after = self._pace.rate(self._least(trial.was), trial.burst)
        self._trial = None
        keep = worth_keeping(trial.before, after, trial.tune.aim)
        if not keep:
            self.pending = dict(trial.was)
        self._tell("kept" if keep else "reverted", trial.tune, trial.was, step, trial.before, after)

    def _tell(
        self,
        verdict: Literal["trying", "kept", "reverted", "refused"],
        tune: TuneCommand,
        was: dict[str, Any],
        step: int,
        before: MeasuredRate | None = None,
        after: MeasuredRate | None = None,
        text: str = "",
        *,
        later: bool = False,
    ) -> None:
        self._reporter.send(
            Tuned(
                verdict=verdict,
                changes=tune.changes,
                was=was,
                step=step,
                before=before.value if before else None,
                after=after.value if after else None,
                prediction=tune.promised,
                sender=tune.sender,
                text=text,
                later=later,
            )
        )
