"""What a tree of causes is made of: questions to the signals, and causes that hold when all of theirs are answered yes.

All of it is data, so that the same table decides, tells the evidence in words, and shows a person what was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from msgspec import Struct

from gputrain.engine.common.units import size
from gputrain.engine.diagnosis.windows.signals import Signals

Unit = Literal["share", "percent", "cores", "count", "times", "seconds", "bytes", "yes"]
Severity = Literal["info", "warning", "critical"]

LITTLE, MUCH, GRAVE = 0.05, 0.10, 0.20
"""Shares of the time from which a loss is worth a word, a warning, an alarm (as in TensorFlow's and TraceML's)."""


class Question(Struct, frozen=True):
    """A question: is a figure within its bounds? Nobody knows where it was not measured."""

    __test__ = False  # pytest takes it for a test otherwise

    figure: Callable[[Signals], float | None]
    words: str
    """A sentence part with ``{}`` in the figure's place."""
    least: float | None = None
    below: float | None = None
    unit: Unit = "share"
    name: str = ""
    """What the figure is called where nobody measured it; empty: the words without a figure."""
    lenient: bool = False
    """Whether a figure that nobody measured speaks against nothing."""

    def answer(self, s: Signals) -> bool | None:
        """Whether the figure is within the bounds; None: it was not measured."""
        value = self.figure(s)
        if value is None:
            return True if self.lenient else None
        return (self.least is None or value >= self.least) and (self.below is None or value < self.below)

    def told(self, s: Signals) -> str:
        """The figure in words."""
        if self.figure(s) is None:
            return f"not measured: {self.unknown}"
        return self.words.format(amount(self.figure(s), self.unit))

    @property
    def unknown(self) -> str:
        """What is missing where the figure is."""
        return self.name or self.words.format("…")

    def asked(self, s: Signals) -> str:
        """The figure in words beside what it is held against."""
        if self.figure(s) is None:
            return self.told(s)
        bounds = [f"≥ {amount(self.least, self.unit)}"] if self.least is not None else []
        bounds += [f"< {amount(self.below, self.unit)}"] if self.below is not None else []
        return self.told(s) + (f" (asked: {', '.join(bounds)})" if bounds and self.unit != "yes" else "")


def amount(value: float | None, unit: Unit) -> str:
    """A figure for a person: ``23 %``, ``1.5``, ``unknown``."""
    if value is None:
        return "unknown"
    match unit:
        case "share":
            return f"{100 * value:.0f} %"
        case "percent":
            return f"{value:.0f} %"
        case "count":
            return f"{value:.0f}"
        case "times":
            return f"{value:.1f}×"
        case "seconds":
            return f"{value:.1f} s" if value >= 1 else f"{1000 * value:.0f} ms"
        case "bytes":
            return size(int(value))
        case "yes":
            return "" if value else "not "
    return f"{value:.1f}"


class Fix(Struct, frozen=True):
    """What to do."""

    action: str
    changes: dict[str, Any] = {}
    """Settings that would put it into effect."""


class Cause(Struct, frozen=True):
    """One thing that may hold a run back. The title has no figures, so that it changes only with its meaning."""

    id: str
    title: str
    tests: tuple[Question, ...]
    fix: Callable[[Signals], Fix]
    disproof: str
    """What would show that it is something else."""
    costs: Callable[[Signals], float | None]
    """Share of the time that it costs."""
    more: tuple[Question, ...] = ()
    """Figures that are told with it, but decide nothing."""
    severity: Severity | None = None
    """None: by what it costs."""

    def holds(self, s: Signals) -> bool | None:
        """Whether it is a cause; None: it would be if what was not measured said so."""
        answers = [test.answer(s) for test in self.tests]
        if False in answers:
            return False
        return None if None in answers else True

    def grave(self, s: Signals) -> Severity:
        """How grave it is."""
        if self.severity is not None:
            return self.severity
        cost = self.costs(s) or 0.0
        return "critical" if cost >= GRAVE else "warning" if cost >= MUCH else "info"

    def evidence(self, s: Signals) -> list[str]:
        """The figures that speak for it, in words."""
        known = (test for test in (*self.tests, *self.more) if test.figure(s) is not None and test.unit != "yes")
        return list(dict.fromkeys(test.told(s) for test in known))

    def missing(self, s: Signals) -> list[str]:
        """The figures that nobody measured, in words."""
        return [test.unknown for test in self.tests if test.answer(s) is None]

    def step(self, s: Signals) -> str:
        """What was asked about it, and the answer: a line of the path."""
        holds = self.holds(s)
        if holds:
            return f"✓ {self.title}: {'; '.join(test.asked(s) for test in self.tests)}"
        if holds is None:
            return f"? {self.title}: not measured: {'; '.join(self.missing(s))}"
        failed = next(test for test in self.tests if test.answer(s) is False)
        return f"✗ {self.title}: {failed.asked(s)}"


class TreeWalk(Struct, frozen=True):
    """What was found on the way through causes of which one at a time is right."""

    found: Cause | None
    path: tuple[str, ...]
    """A line for each cause: what was asked, and the answer."""
    open: tuple[Cause, ...]
    """Causes that were passed because their figures were not measured."""


def walk_tree(causes: Iterable[Cause], s: Signals, explained: Mapping[str, Cause] | None = None) -> TreeWalk:
    """The first of `causes` that holds; those of `explained` would hold because of another one, and are not asked."""
    path: list[str] = []
    unknown: list[Cause] = []
    found: Cause | None = None
    for cause in causes:
        reason = found or (explained or {}).get(cause.id)
        if reason is not None:
            path.append(f"– {cause.title}: not asked, as another cause explains it: {reason.title}")
            continue
        path.append(cause.step(s))
        if holds := cause.holds(s):
            found = cause
        elif holds is None:
            unknown.append(cause)
    return TreeWalk(found, tuple(path), tuple(unknown))
