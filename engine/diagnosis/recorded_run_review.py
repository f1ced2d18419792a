"""Diagnosis of a recorded run, finished or not: evaluates each window, and counts in how many each cause held. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec import Struct

from gputrain.engine.diagnosis import memory_causes
from gputrain.engine.diagnosis.decision_tree import evaluate, hint_of, ranked
from gputrain.engine.diagnosis.windows.event_window import WINDOW_SECONDS, EventWindow
from gputrain.engine.diagnosis.windows.signals import Signals
from gputrain.engine.events import (
    AnyEvent,
    HardwareSample,
    Hint,
    Phase,
    PhaseChanged,
    RunEnded,
    RunStarted,
    Steps,
    Tuned,
)

_OFTEN = 0.25
"""Share of the windows from which a cause is reported; for a run that goes on, the newest window's always are."""


class Finding(Struct, frozen=True):
    """A cause, with the hint of the last window in which it held."""

    hint: Hint
    windows: int
    """In how many windows it held; 0: it is about the run's end."""


class Review(Struct, frozen=True):
    """The diagnosis of a recorded run."""

    run_id: str
    ended: bool
    windows: int
    """How many were evaluated, of up to 12 s each."""
    seconds: float
    """Time on steps in them, in seconds."""
    findings: tuple[Finding, ...]
    """The most important first."""
    signals: Signals | None
    """The signals of the newest window."""
    tried: tuple[Tuned, ...] = ()
    """Live changes of the run that were kept or reverted."""

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON; values that were not measured are null."""
        named: dict[str, Any] = msgspec.to_builtins(self)
        named["findings"] = [
            {
                **msgspec.to_builtins(one.hint),
                "windows": one.windows,
                "prediction": msgspec.to_builtins(one.hint.prediction),
            }
            for one in self.findings
        ]
        return named


def review(events: Iterable[AnyEvent], alive: Callable[[], bool] = lambda: True) -> Review:
    """Evaluate all windows of a record, one after the other; the last may be shorter.

    `alive`: whether the supervisor still runs. It is asked after the last event, because a supervisor that was killed
    records no end.
    """
    window = EventWindow()
    name, ended, due = "", False, None
    settings: dict[str, Any] = {}
    died: RunEnded | None = None
    last: Signals | None = None
    judged: list[tuple[Signals, dict[str, Hint]]] = []
    tried: list[Tuned] = []

    def judge_last(signals: Signals) -> None:
        if not judged or signals != judged[-1][0]:
            judged.append((signals, evaluate(signals)))

    for event in events:
        match event:
            case RunStarted():
                name = event.run_id
                settings = dict(event.settings)
                if last is not None:
                    judge_last(last)
                ended, died, last = False, None, None  # a resumed run goes on
            case RunEnded() if event.died_of:
                died = event
            case Tuned(verdict="kept" | "reverted"):
                tried.append(event)
            case PhaseChanged(phase=Phase.STOPPING | Phase.ENDED):
                # The last window before the end is evaluated even if it is short.
                last, ended = last or window.signals(), ended or event.phase is Phase.ENDED
        window.feed(event)
        if isinstance(event, Steps | HardwareSample) and (due is None or event.mono >= due):
            signals = window.signals()
            if signals is not None:
                judged.append((signals, evaluate(signals)))
                due = event.mono + WINDOW_SECONDS
    last = last or window.signals()
    if last is not None:
        judge_last(last)
    found = msgspec.structs.replace(_summed(name, ended or not alive(), judged), tried=tuple(tried))
    return found if died is None else _with_end(found, died, last or Signals(wait=0, compute=0, settings=settings))


def _with_end(found: Review, died: RunEnded, signals: Signals) -> Review:
    """`found` with the hint for a run that ran out of memory in front."""
    hint = hint_of(memory_causes.died(died.died_of, died.reason), signals, ())
    rest = (one for one in found.findings if one.hint.id != hint.id)
    return msgspec.structs.replace(found, findings=(Finding(hint, 0), *rest))


def _summed(name: str, ended: bool, judged: list[tuple[Signals, dict[str, Hint]]]) -> Review:
    newest = judged[-1][1] if judged else {}
    seen: dict[str, Finding] = {}
    for _, hints in judged:
        for cause, hint in hints.items():
            before = seen[cause].windows if cause in seen else 0
            seen[cause] = Finding(hint, before + 1)
    kept = {
        cause: one
        for cause, one in seen.items()
        if one.windows >= _OFTEN * len(judged) or (not ended and cause in newest)
    }
    order = {hint.id: place for place, hint in enumerate(ranked(one.hint for one in kept.values()))}
    findings = sorted(kept.values(), key=lambda one: order[one.hint.id])
    seconds = sum(signals.seconds for signals, _ in judged)
    return Review(name, ended, len(judged), round(seconds, 1), tuple(findings), judged[-1][0] if judged else None)
