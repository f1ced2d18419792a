"""Events of the diagnosis: hints, and the results of live tuning."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

from gputrain.engine.common.units import Unit
from gputrain.engine.events.envelope import Event


class Prediction(Struct, frozen=True, omit_defaults=True):
    """The expected result of a change."""

    low: float | None = None
    """Lower and upper bound of images per second; None if unknown."""
    high: float | None = None
    """Images per second, at most."""
    limiter: str = ""
    """The bottleneck after the change."""
    void: str = ""
    """Why there is no prediction; empty with a range."""
    now: float | None = None
    """The current rate to compare the range with; None: the rate of the steps."""
    stops: bool = False
    """Whether the three rates include checkpoints and validations."""
    unit: Unit = "images"
    """What the rates count."""


class Hint(Struct, frozen=True, omit_defaults=True):
    """A performance problem, its evidence and the advice."""

    id: str
    """The stable name of the rule."""
    severity: Literal["info", "warning", "critical"]
    """How urgent it is."""
    title: str
    """The cause, in one line."""
    evidence: str
    """The measured values that support it."""
    action: str
    """What to do."""
    changes: dict[str, Any] = {}
    """Settings that apply the advice, by name."""
    share: float = 0.0
    """Share of the run time that it costs, 0…1; 0 if unknown."""
    prediction: Prediction | None = None
    """The expected result of `changes`; None without changes."""
    disproof: str = ""
    """The observation that would disprove this cause."""
    path: tuple[str, ...] = ()
    """The checks that led to the cause, one sentence each."""


class HintsChanged(Event, frozen=True, tag="hints"):
    """The current hints, the most important first."""

    hints: tuple[Hint, ...]
    """All current hints; empty if none is left."""


class Tuned(Event, frozen=True, tag="tuned"):
    """Live tuning: the running training tries other data loading settings, or reports the result."""

    verdict: Literal["trying", "kept", "reverted", "refused"]
    """`trying` when the trial starts, then its result."""
    changes: dict[str, Any]
    """The requested values, by setting name."""
    was: dict[str, Any] = field(default_factory=dict)
    """The previous values."""
    step: int = 0
    """Step at which the change took effect."""
    before: float | None = None
    """Images per second before and after; None until measured."""
    after: float | None = None
    """Images per second after the change; None until it is measured."""
    unit: Unit = "images"
    """What the two rates count."""
    prediction: Prediction | None = None
    """What the hint predicted."""
    sender: str = ""
    """Who asked for it."""
    text: str = ""
    """Why it was refused."""
    later: bool = False
    """Refused for now: a later request may succeed."""

    @property
    def now(self) -> dict[str, Any]:
        """The values that apply from now on, of the requested settings; empty if none changed."""
        if self.verdict == "refused":
            return {}
        return self.was if self.verdict == "reverted" else self.changes
