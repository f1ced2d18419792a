"""Which advice a run takes by itself: what leaves the losses bit for bit, one after the other. Pure.

Nothing is tried again that was measured: no way that brought nothing, however far, and no setting that a better one
has replaced. What could not be tried yet is asked for again later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from gputrain.engine.configuration.settings import shown
from gputrain.engine.events import AnyEvent, Hint, Phase, PhaseChanged, RunStarted, Tuned
from gputrain.engine.events.commands import EXACT_SETTINGS, LIVE_SETTINGS, TuneCommand

SENDER = "autotune"
FIRST_WAIT, LONGEST_WAIT = 15.0, 600.0
"""Seconds until a change that was refused for now is asked for again; each further refusal doubles them."""
_ANSWER_SECONDS = 600.0
"""How long an answer is waited for: steps may be slow, and a run may pause."""
_FOR_MEMORY = frozenset({"ram-pressure", "shm-full", "oversubscribed"})


def tune_command(hint: Hint, sender: str, allowed: Collection[str] = LIVE_SETTINGS) -> TuneCommand | None:
    """The command that puts a hint into effect; None where that would change more than `allowed`."""
    if not hint.changes or not hint.changes.keys() <= set(allowed):
        return None
    aim = "memory" if hint.id in _FOR_MEMORY else "speed"
    return TuneCommand(changes=hint.changes, promised=hint.prediction, aim=aim, sender=sender)  # type: ignore[arg-type]


class Autotune:
    """Remembers what was tried, by whomever."""

    def __init__(self) -> None:
        self._settings: dict[str, Any] = {}
        self._now = 0.0
        self._asked: float | None = None
        """When the trainer was asked for a change; None once it has answered."""
        self._trial: Tuned | None = None
        self._vain: list[dict[str, str]] = []
        """Ways that brought nothing: which settings, and for numbers whether up or down."""
        self._left: list[dict[str, Any]] = []
        """Values that better ones have replaced, or that can't be had."""
        self._put_off: dict[str, tuple[float, float]] = {}
        """Changes that were refused for now: until when, and for how long."""

    def feed(self, event: AnyEvent) -> None:
        """Learn from one event."""
        self._now = max(self._now, event.mono)
        match event:
            case RunStarted():
                self._settings = dict(event.settings)
            case Tuned():
                self._asked = None
                self._learn(event)
            case PhaseChanged(phase=Phase.STARTING):
                # A trainer that died answers no more; what it was trying the supervisor has told to be off.
                self._asked = None

    def _learn(self, event: Tuned) -> None:
        self._settings.update(event.now)
        match event.verdict:
            case "refused" if event.later:
                wait = min(LONGEST_WAIT, 2 * self._put_off.get(_name(event.changes), (0.0, FIRST_WAIT / 2))[1])
                self._put_off[_name(event.changes)] = self._now + wait, wait
            case "refused":
                self._left.append(event.changes)
            case "trying":
                self._trial = event
            case "kept":
                self._trial = None
                self._left.append(event.was)
            case "reverted":
                self._trial = None
                self._vain.append(_way(event.was, event.changes))

    def next(self, hints: Iterable[Hint]) -> TuneCommand | None:
        """The first advice that can be taken and may bring something; None while another is asked for or tried."""
        if self._trial is not None or (self._asked is not None and self._now < self._asked + _ANSWER_SECONDS):
            return None
        for hint in hints:
            tune = tune_command(hint, SENDER, EXACT_SETTINGS)
            if tune is not None and self._is_open(tune.changes):
                self._asked = self._now
                return tune
        return None

    def _is_open(self, changes: dict[str, Any]) -> bool:
        if changes in self._left or _way(self._settings, changes) in self._vain:
            return False
        return self._now >= self._put_off.get(_name(changes), (0.0, 0.0))[0]


def _way(was: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, str]:
    """Where `changes` lead from `was`: up or down for a number, else to a value."""
    return {name: _step(was.get(name), value) for name, value in changes.items()}


def _step(before: object, after: object) -> str:
    if isinstance(after, bool) or not isinstance(before, int | float) or not isinstance(after, int | float):
        return shown(after)
    return "up" if after > before else "down"


def _name(changes: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={shown(value)}" for name, value in sorted(changes.items()))
