"""Hints over time: two windows in a row raise or clear a hint, so that hints do not flicker. Pure."""

from __future__ import annotations

import msgspec

from gputrain.engine.diagnosis.rules import evaluate, ranked
from gputrain.engine.diagnosis.speedup_prediction import was_reverted
from gputrain.engine.diagnosis.windows.event_window import WINDOW_SECONDS, EventWindow
from gputrain.engine.diagnosis.windows.signals import Signals
from gputrain.engine.events import (
    AnyEvent,
    HardwareSample,
    Hint,
    Phase,
    PhaseChanged,
    Prediction,
    Steps,
    Tuned,
)

EVALUATE_EVERY = WINDOW_SECONDS
"""Seconds between evaluations. Two in a row raise or clear a hint; their windows share no event."""
SHARE_DRIFT, PROMISE_DRIFT = 0.10, 0.15
"""Least change of the lost share of time, and relative change of the predicted rate, that is reported again."""
_RANK = {"critical": 0, "warning": 1, "info": 2}


class Advisor:
    """Hints of a run from its events. Time is the events' own `mono`; it reads no clock."""

    def __init__(self) -> None:
        self._window = EventWindow()
        self._evaluated: float | None = None
        self._before: dict[str, Hint] = {}
        self._shown: dict[str, Hint] = {}
        self._windows = 0
        self.signals: Signals | None = None
        """The signals of the newest evaluation."""

    def feed(self, event: AnyEvent) -> None:
        """Take one recorded event."""
        self._window.feed(event)
        if isinstance(event, PhaseChanged) and event.phase is Phase.ENDED:
            self._before, self._shown = {}, {}
        if isinstance(event, Tuned) and event.verdict == "kept":
            self._forget(event)
        if isinstance(event, Tuned) and event.verdict == "reverted":
            self._mark_reverted(event)
        due = self._evaluated is None or event.mono - self._evaluated >= EVALUATE_EVERY
        if due and isinstance(event, Steps | HardwareSample):
            self._evaluate(event.mono)

    def hints(self) -> tuple[Hint, ...]:
        """The hints that hold now, the most important first."""
        return tuple(ranked(self._shown.values()))

    @property
    def has_judged(self) -> bool:
        """Whether two windows were evaluated; before that, the absence of hints means nothing."""
        return self._windows > 1

    def _forget(self, kept: Tuned) -> None:
        """Drop the hints whose change was kept."""
        for hints in (self._before, self._shown):
            for name in [name for name, hint in hints.items() if hint.changes == kept.changes]:
                del hints[name]

    def _mark_reverted(self, reverted: Tuned) -> None:
        """Replace the prediction of hints whose change was reverted by the measured result."""
        for hints in (self._before, self._shown):
            for name, hint in hints.items():
                if hint.changes == reverted.changes:
                    hints[name] = msgspec.structs.replace(hint, prediction=was_reverted(reverted))

    def _evaluate(self, now: float) -> None:
        signals = self._window.signals()
        if signals is None:
            return
        self._evaluated, self.signals = now, signals
        self._windows += 1
        holds = evaluate(signals)
        shown = {}
        # Two windows in a row raise a hint; two in a row without it clear it.
        for name in {**holds, **self._shown}:
            hint, last, old = holds.get(name), self._before.get(name), self._shown.get(name)
            if hint is not None and (last is not None or old is not None):
                shown[name] = _steady(hint, old)
            elif hint is None and last is not None and old is not None:
                shown[name] = old
        self._before, self._shown = holds, shown


def is_news(now: tuple[Hint, ...], reported: tuple[Hint, ...] | None) -> bool:
    """Whether hints differ from the last reported ones: in cause or remedy, or by much in cost or predicted gain.

    Each window has slightly different numbers; reporting each would fill the event log.
    """
    if reported is None or [_meaning(hint) for hint in now] != [_meaning(hint) for hint in reported]:
        return True
    return any(
        abs(one.share - other.share) >= SHARE_DRIFT or _drift(one.prediction, other.prediction) >= PROMISE_DRIFT
        for one, other in zip(now, reported, strict=True)
    )


def _meaning(hint: Hint) -> tuple[object, ...]:
    promise = hint.prediction
    return hint.id, hint.severity, hint.title, hint.changes, promise and (promise.limiter, promise.high is None)


def _drift(one: Prediction | None, other: Prediction | None) -> float:
    """Relative change of the predicted rate; 0 without two predictions."""
    if one is None or other is None or not one.high or not other.high:
        return 0.0
    return abs(one.high / other.high - 1)


def _steady(hint: Hint, old: Hint | None) -> Hint:
    """`hint` with at least its old severity: around a threshold it would change with every window."""
    if old is not None and _RANK[old.severity] < _RANK[hint.severity]:
        return msgspec.structs.replace(hint, severity=old.severity)
    return hint
