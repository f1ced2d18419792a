"""Hints over time: raised and cleared by two windows in a row, so that none comes and goes with a moment. Pure."""

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
"""Seconds between evaluations; a hint is raised, and cleared, by two in a row, whose windows share no event."""
SHARE_DRIFT, PROMISE_DRIFT = 0.10, 0.15
"""From these on other figures are news: of the share of the time that is lost, and of what is promised."""
_RANK = {"critical": 0, "warning": 1, "info": 2}


class Advisor:
    """Hints of a run as its events come; a clock of its own it has not."""

    def __init__(self) -> None:
        self._window = EventWindow()
        self._evaluated: float | None = None
        self._before: dict[str, Hint] = {}
        self._shown: dict[str, Hint] = {}
        self._windows = 0
        self.signals: Signals | None = None
        """The signals of the newest evaluation."""

    def feed(self, event: AnyEvent) -> None:
        """Learn from one recorded event (its `mono` is the time)."""
        self._window.feed(event)
        if isinstance(event, PhaseChanged) and event.phase is Phase.ENDED:
            self._before, self._shown = {}, {}
        if isinstance(event, Tuned) and event.verdict == "kept":
            self._forget(event)
        if isinstance(event, Tuned) and event.verdict == "reverted":
            self._promise_no_more(event)
        due = self._evaluated is None or event.mono - self._evaluated >= EVALUATE_EVERY
        if due and isinstance(event, Steps | HardwareSample):
            self._evaluate(event.mono)

    def hints(self) -> tuple[Hint, ...]:
        """What holds now, the most important first."""
        return tuple(ranked(self._shown.values()))

    @property
    def has_judged(self) -> bool:
        """Whether enough was seen for a hint; before, none means nothing."""
        return self._windows > 1

    def _forget(self, kept: Tuned) -> None:
        """What advised the change that was kept is no advice any more."""
        for hints in (self._before, self._shown):
            for name in [name for name, hint in hints.items() if hint.changes == kept.changes]:
                del hints[name]

    def _promise_no_more(self, reverted: Tuned) -> None:
        """What was just taken back does not stand there with its old promise."""
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
        # Two in a row raise a hint, and one that is shown goes only when two in a row lack it.
        for name in {**holds, **self._shown}:
            hint, last, old = holds.get(name), self._before.get(name), self._shown.get(name)
            if hint is not None and (last is not None or old is not None):
                shown[name] = _steady(hint, old)
            elif hint is None and last is not None and old is not None:
                shown[name] = old
        self._before, self._shown = holds, shown


def is_news(now: tuple[Hint, ...], told: tuple[Hint, ...] | None) -> bool:
    """Whether hints differ from those that were told: in what is wrong, what to do, or much in what it costs or gains.

    Each window has its own figures; to tell them all would fill the record.
    """
    if told is None or [_meaning(hint) for hint in now] != [_meaning(hint) for hint in told]:
        return True
    return any(
        abs(one.share - other.share) >= SHARE_DRIFT or _drift(one.prediction, other.prediction) >= PROMISE_DRIFT
        for one, other in zip(now, told, strict=True)
    )


def _meaning(hint: Hint) -> tuple[object, ...]:
    promise = hint.prediction
    return hint.id, hint.severity, hint.title, hint.changes, promise and (promise.limiter, promise.high is None)


def _drift(one: Prediction | None, other: Prediction | None) -> float:
    """Change of the promised rate over the promised rate; 0 without two promises."""
    if one is None or other is None or not one.high or not other.high:
        return 0.0
    return abs(one.high / other.high - 1)


def _steady(hint: Hint, old: Hint | None) -> Hint:
    """`hint`, not milder than it was: around a threshold it would change with every window."""
    if old is not None and _RANK[old.severity] < _RANK[hint.severity]:
        return msgspec.structs.replace(hint, severity=old.severity)
    return hint
