"""Trial of the advice: records the trace again with the proposed settings, and compares measured and predicted gain.

A prediction counts as right if at least half of the predicted gain was measured. Left out, and counted, are predictions
within the noise of the two rates, advice without settings or without a predicted number, and settings whose effect on a
simulated device would only be the benchmark's own assumption.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from diagnosis_setup import SampleFault, Setup
from diagnosis_verdict import Rate

from gputrain.engine.events import Hint

_LOADERS = frozenset(
    {"num_workers", "prefetch_factor", "persistent_workers", "loader", "checkpoint_steps", "validate_epochs"}
)
"""Settings that the loop before a simulated device obeys as the trainer does."""
_ENOUGH = 0.5
"""Share of the promised gain that the advice has to bring."""
_NOISE, _ERRORS = 0.03, 2.0
"""A gain is above the noise from this share of the rate, and so many standard errors of the difference, on."""


@dataclass(frozen=True)
class Trial:
    """One trial of the first hint's settings."""

    changes: dict[str, Any]
    before: Rate
    after: Rate
    promised: float | None
    """The rate in the middle of the promise; None where none was made."""
    void: str = ""
    """Why none was made."""

    @property
    def noise(self) -> float:
        """Noise: images per second by which two such rates differ without a change."""
        return max(_NOISE * self.before.value, _ERRORS * math.hypot(self.before.error, self.after.error))

    @property
    def gain(self) -> float:
        """Gained images per second."""
        return self.after.value - self.before.value

    @property
    def left_out(self) -> str:
        """Why the prediction cannot be judged; empty if it can."""
        if self.promised is None:
            return f"no figure promised: {self.void}"
        return "" if self.promised - self.before.value > self.noise else "a promise within the noise"

    @property
    def effective(self) -> bool | None:
        """Whether at least half of the predicted gain was measured; None without a prediction to judge."""
        if self.left_out or self.promised is None:
            return None
        return self.gain >= _ENOUGH * (self.promised - self.before.value)

    @property
    def harmless(self) -> bool:
        """Whether the rate did not fall, beyond the noise, below the old one, or below a lower predicted one."""
        announced = self.before.value if self.promised is None else min(self.promised, self.before.value)
        return self.after.value >= announced - self.noise

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "changes": self.changes,
            "before": self.before.value,
            "after": self.after.value,
            "promised": self.promised,
            "void": self.void,
            "noise": self.noise,
            "left_out": self.left_out,
            "effective": self.effective,
        }


def untried(setup: Setup, hint: Hint) -> str:
    """Why the advice of `hint` is not tried; empty if it is."""
    if not hint.changes:
        return "no setting is proposed"
    if not setup.step:
        return ""
    able = _LOADERS
    if setup.sample == SampleFault():
        # A cache is filled from the files themselves: what else is wrong with samples would not be in it.
        able |= {"cache"}
    beyond = sorted(hint.changes.keys() - able)
    return f"{', '.join(beyond)}: nothing that is real before a simulated device" if beyond else ""


def changed(setup: Setup, hint: Hint) -> Setup:
    """`setup` with what `hint` proposes; a cache is in its second epoch then."""
    settings = {**setup.settings, **hint.changes}
    epoch = max(1, setup.first_epoch) if settings.get("cache", "none") != "none" else setup.first_epoch
    return replace(setup, settings=settings, first_epoch=epoch)


def trial_of(hint: Hint, rate: float | None, before: Rate, after: Rate) -> Trial:
    """The trial of `hint`; `rate` is the window's, to which a prediction is relative unless it has its own."""
    promise = hint.prediction
    if promise is None or promise.low is None or promise.high is None:
        return Trial(hint.changes, before, after, None, promise.void if promise is not None else "")
    base = getattr(promise, "now", None) or rate
    if not base:
        return Trial(hint.changes, before, after, None, "the rate before is unknown")
    return Trial(hint.changes, before, after, before.value * (promise.low + promise.high) / 2 / base)
