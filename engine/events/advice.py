"""What the diagnosis found, and what became of the changes that it led to."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

from gputrain.engine.events.envelope import Event


class Prediction(Struct, frozen=True, omit_defaults=True):
    """What a change is expected to bring."""

    low: float | None = None
    """Images per second, at least and at most; None where that can't be known."""
    high: float | None = None
    limiter: str = ""
    """What would hold the run back then."""
    void: str = ""
    """Why nothing is promised; empty with a range."""
    now: float | None = None
    """What to hold the range against; None: the rate of the steps, which everybody sees."""
    stops: bool = False
    """Whether checkpoints and validations count in all three."""


class Hint(Struct, frozen=True, omit_defaults=True):
    """A symptom, its evidence and what to do about it."""

    id: str
    """The rule's stable name."""
    severity: Literal["info", "warning", "critical"]
    title: str
    evidence: str
    action: str
    changes: dict[str, Any] = {}
    """Settings that would put the action into effect."""
    share: float = 0.0
    """Share of the time that it costs, 0…1; 0 where that has no number."""
    prediction: Prediction | None = None
    """With `changes`; None without them."""
    disproof: str = ""
    """What would show that this is not the cause."""
    path: tuple[str, ...] = ()
    """How the cause was found: what was asked of the signals on the way, a sentence each."""


class HintsChanged(Event, frozen=True, tag="hints"):
    """The hints that hold from now on, the most important first."""

    hints: tuple[Hint, ...]


class Tuned(Event, frozen=True, tag="tuned"):
    """The running training has changed how its data are loaded, or what became of such a change."""

    verdict: Literal["trying", "kept", "reverted", "refused"]
    changes: dict[str, Any]
    """What was asked for, by name of the setting."""
    was: dict[str, Any] = field(default_factory=dict)
    """The values before."""
    step: int = 0
    before: float | None = None
    """Images per second before and after; None before they are measured."""
    after: float | None = None
    prediction: Prediction | None = None
    sender: str = ""
    text: str = ""
    """Why it was refused."""
    later: bool = False
    """Refused for now: asked for again, it may be tried."""

    @property
    def now(self) -> dict[str, Any]:
        """The settings that hold from here on, of those that were asked for; empty if none changed."""
        if self.verdict == "refused":
            return {}
        return self.was if self.verdict == "reverted" else self.changes
