"""Autotune: which hints a run applies by itself, one at a time. Only changes that keep the losses bit for bit. Pure.

A change that was measured is not tried again: neither the same direction of a change without gain, nor a value that a
better one replaced. A change that was refused for now is requested again later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from gputrain.engine.configuration.settings import shown
from gputrain.engine.events import AnyEvent, Hint, LoaderFound, Phase, PhaseChanged, RunStarted, Tuned
from gputrain.engine.events.commands import EXACT_SETTINGS, LIVE_SETTINGS, TuneCommand

SENDER = "autotune"
FIRST_WAIT, LONGEST_WAIT = 15.0, 600.0
"""Seconds until a change that was refused for now is requested again; each further refusal doubles them."""
_ANSWER_SECONDS = 600.0
"""Timeout for the trainer's answer in seconds: steps may be slow, and a run may pause."""
_FOR_MEMORY = frozenset({"ram-pressure", "shm-full", "oversubscribed"})


def tune_command(hint: Hint, sender: str, allowed: Collection[str] = LIVE_SETTINGS) -> TuneCommand | None:
    """The command that applies a hint; None where that would change settings outside `allowed`."""
    if not hint.changes or not hint.changes.keys() <= set(allowed):
        return None
    aim = "memory" if hint.id in _FOR_MEMORY else "speed"
    return TuneCommand(changes=hint.changes, promised=hint.prediction, aim=aim, sender=sender)  # type: ignore[arg-type]


class Autotune:
    """Chooses the next change; remembers all tried ones, also those that a user requested."""

    def __init__(self) -> None:
        self._settings: dict[str, Any] = {}
        self._now = 0.0
        self._requested: float | None = None
        """When a change was requested; None after the trainer's answer."""
        self._trial: Tuned | None = None
        self._without_gain: list[dict[str, str]] = []
        """Directions without gain: the settings, and for numbers ``up`` or ``down``."""
        self._ruled_out: list[dict[str, Any]] = []
        """Values that better ones replaced, or that the trainer refused."""
        self._deferred: dict[str, tuple[float, float]] = {}
        """Changes that were refused for now: when to request them again, and the delay in seconds."""

    def feed(self, event: AnyEvent) -> None:
        """Take one event."""
        self._now = max(self._now, event.mono)
        match event:
            case RunStarted():
                self._settings = dict(event.settings)
            case LoaderFound():
                self._settings |= {"num_workers": event.num_workers, "prefetch_factor": event.prefetch_factor}
            case Tuned():
                self._requested = None
                self._learn(event)
            case PhaseChanged(phase=Phase.STARTING):
                # A trainer that died does not answer; the supervisor has ended its trial.
                self._requested = None

    def _learn(self, event: Tuned) -> None:
        self._settings.update(event.now)
        match event.verdict:
            case "refused" if event.later:
                wait = min(LONGEST_WAIT, 2 * self._deferred.get(_name(event.changes), (0.0, FIRST_WAIT / 2))[1])
                self._deferred[_name(event.changes)] = self._now + wait, wait
            case "refused":
                self._ruled_out.append(event.changes)
            case "trying":
                self._trial = event
            case "kept":
                self._trial = None
                self._ruled_out.append(event.was)
            case "reverted":
                self._trial = None
                self._without_gain.append(_direction(event.was, event.changes))

    def next(self, hints: Iterable[Hint]) -> TuneCommand | None:
        """The command for the first hint that may gain something; None while another change is requested or tried."""
        if self._trial is not None or (self._requested is not None and self._now < self._requested + _ANSWER_SECONDS):
            return None
        for hint in hints:
            tune = tune_command(hint, SENDER, EXACT_SETTINGS)
            if tune is not None and self._is_open(tune.changes):
                self._requested = self._now
                return tune
        return None

    def _is_open(self, changes: dict[str, Any]) -> bool:
        if changes in self._ruled_out or _direction(self._settings, changes) in self._without_gain:
            return False
        return self._now >= self._deferred.get(_name(changes), (0.0, 0.0))[0]


def _direction(was: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, str]:
    """The direction of `changes` from `was` by setting: ``up`` or ``down`` for a number, else the new value."""
    return {name: _step(was.get(name), value) for name, value in changes.items()}


def _step(before: object, after: object) -> str:
    if isinstance(after, bool) or not isinstance(before, int | float) or not isinstance(after, int | float):
        return shown(after)
    return "up" if after > before else "down"


def _name(changes: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={shown(value)}" for name, value in sorted(changes.items()))
