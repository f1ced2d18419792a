"""The rate of a training before and after a change, and whether the change is worth keeping.

Used for trainings of ours and for scripts of the user's own: both are judged alike.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

from gputrain.engine.common.units import Unit
from gputrain.engine.events import Tuned
from gputrain.engine.events.commands import TuneCommand

LEAST_SECONDS = 4.0
"""Minimum seconds of a measurement; slow samples are rare."""
LEAST_GAIN, MOST_LOSS = 0.03, 0.03
"""Smallest gain of a change for speed, and largest loss of a change for memory, as shares of the rate."""
_ERRORS = 2.0
"""A gain must exceed this many standard errors."""
_BLOCKS, _LEAST_BLOCKS = 20, 5
"""Number of blocks (batch means) for the standard error, and its minimum."""
_NEWEST, _KEPT = 200, 5000
"""Updates that a rate uses at most, and updates that are stored."""


@dataclass(frozen=True, slots=True)
class MeasuredRate:
    """Images per second over some updates, with the standard error of the mean."""

    value: float
    error: float
    updates: int


@dataclass(slots=True)
class RateMeter:
    """Durations of the newest updates."""

    updates: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_KEPT))
    """Seconds and images of each."""

    def enough(self, least: int) -> bool:
        """Whether there are enough updates for a rate, at least `least`."""
        return len(self.updates) >= least and math.fsum(one for one, _ in self.updates) >= LEAST_SECONDS

    def rate(self, least: int, burst: int = 1) -> MeasuredRate:
        """Rate of the newest updates, at least `least`. `burst`: updates whose batches become ready together.

        Workers that start together finish together: one update waits for all of them, the next ones do not wait.
        The spread of single updates then overestimates the error of the rate; where the machine's speed drifts, it
        underestimates it. So the error is taken from the means of whole bursts (method of batch means).
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
    """Whether a change reached its aim."""
    gain = after.value - before.value
    noise = _ERRORS * math.hypot(before.error, after.error)
    if aim == "memory":
        return gain >= -max(MOST_LOSS * before.value, noise)
    return gain >= LEAST_GAIN * before.value and gain > noise


Verdict = Literal["trying", "kept", "reverted", "refused"]


def tuned(
    verdict: Verdict,
    tune: TuneCommand,
    was: dict[str, Any],
    step: int,
    rates: tuple[MeasuredRate, MeasuredRate] | None = None,
    *,
    unit: Unit = "images",
    text: str = "",
    later: bool = False,
) -> Tuned:
    """The event that reports a change. `rates`: before and after, in `unit`; `text`: why it was refused."""
    before, after = rates if rates is not None else (None, None)
    return Tuned(
        verdict=verdict,
        changes=tune.changes,
        was=was,
        step=step,
        before=before.value if before else None,
        after=after.value if after else None,
        unit=unit,
        prediction=tune.promised,
        sender=tune.sender,
        text=text,
        later=later,
    )
