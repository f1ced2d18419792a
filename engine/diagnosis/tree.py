"""The parts of the decision tree: questions about signals, and causes, which hold when all their questions are true.

All of it is data: the same table decides, phrases the evidence, and shows the path to the user.
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
"""Shares of lost time for severity info, warning, critical (as in TensorFlow's profiler and TraceML)."""


class Question(Struct, frozen=True):
    """Whether a signal is within its bounds; unknown where it was not measured."""

    figure: Callable[[Signals], float | None]
    words: str
    """A clause with ``{}`` in the value's place."""
    least: float | None = None
    below: float | None = None
    unit: Unit = "share"
    name: str = ""
    """What to call the signal where it was not measured; empty: `words` with ``…`` for the value."""
    lenient: bool = False
    """Whether an unmeasured signal counts as within the bounds."""

    def answer(self, s: Signals) -> bool | None:
        """Whether the value is within the bounds; None: it was not measured."""
        value = self.figure(s)
        if value is None:
            return True if self.lenient else None
        return (self.least is None or value >= self.least) and (self.below is None or value < self.below)

    def describe(self, s: Signals) -> str:
        """The clause with the value."""
        if self.figure(s) is None:
            return f"not measured: {self.unknown}"
        return self.words.format(amount(self.figure(s), self.unit))

    @property
    def unknown(self) -> str:
        """The name of the signal where its value is missing."""
        return self.name or self.words.format("…")

    def describe_with_bounds(self, s: Signals) -> str:
        """The clause with the value and its bounds."""
        if self.figure(s) is None:
            return self.describe(s)
        bounds = [f"≥ {amount(self.least, self.unit)}"] if self.least is not None else []
        bounds += [f"< {amount(self.below, self.unit)}"] if self.below is not None else []
        return self.describe(s) + (f" (needs {', '.join(bounds)})" if bounds and self.unit != "yes" else "")


def amount(value: float | None, unit: Unit) -> str:
    """The value as text with its unit: ``23 %``, ``1.5``, ``unknown``."""
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
    """A remedy."""

    action: str
    changes: dict[str, Any] = {}
    """Settings that carry it out."""


class Cause(Struct, frozen=True):
    """One possible cause of slow training. The title has no numbers, so that it changes only with its meaning."""

    id: str
    title: str
    tests: tuple[Question, ...]
    fix: Callable[[Signals], Fix]
    disproof: str
    """An observation that would rule this cause out."""
    costs: Callable[[Signals], float | None]
    """Share of the time that it costs, 0…1."""
    more: tuple[Question, ...] = ()
    """Signals shown as evidence that do not decide."""
    severity: Severity | None = None
    """None: derived from the cost."""

    def holds(self, s: Signals) -> bool | None:
        """Whether all questions are true; None: none is false, but some were not measured."""
        answers = [test.answer(s) for test in self.tests]
        if False in answers:
            return False
        return None if None in answers else True

    def severity_for(self, s: Signals) -> Severity:
        """Its severity for these signals."""
        if self.severity is not None:
            return self.severity
        cost = self.costs(s) or 0.0
        return "critical" if cost >= GRAVE else "warning" if cost >= MUCH else "info"

    def evidence(self, s: Signals) -> list[str]:
        """The measured signals that support it, as clauses."""
        known = (test for test in (*self.tests, *self.more) if test.figure(s) is not None and test.unit != "yes")
        return list(dict.fromkeys(test.describe(s) for test in known))

    def missing(self, s: Signals) -> list[str]:
        """The names of its signals that were not measured."""
        return [test.unknown for test in self.tests if test.answer(s) is None]

    def step(self, s: Signals) -> str:
        """A line of the path: the cause, its questions and their answers."""
        holds = self.holds(s)
        if holds:
            return f"✓ {self.title}: {'; '.join(test.describe_with_bounds(s) for test in self.tests)}"
        if holds is None:
            return f"? {self.title}: not measured: {'; '.join(self.missing(s))}"
        failed = next(test for test in self.tests if test.answer(s) is False)
        return f"✗ {self.title}: {failed.describe_with_bounds(s)}"


class TreeWalk(Struct, frozen=True):
    """The result of checking a family of causes, of which at most one is reported."""

    found: Cause | None
    path: tuple[str, ...]
    """A line for each cause."""
    open: tuple[Cause, ...]
    """Causes that could not be decided, because signals were not measured."""


def walk_tree(causes: Iterable[Cause], s: Signals, explained: Mapping[str, Cause] | None = None) -> TreeWalk:
    """The first of `causes` that holds. Causes in `explained` are skipped: another cause makes them hold."""
    path: list[str] = []
    unknown: list[Cause] = []
    found: Cause | None = None
    for cause in causes:
        reason = found or (explained or {}).get(cause.id)
        if reason is not None:
            path.append(f"– {cause.title}: not checked, another cause explains it: {reason.title}")
            continue
        path.append(cause.step(s))
        if holds := cause.holds(s):
            found = cause
        elif holds is None:
            unknown.append(cause)
    return TreeWalk(found, tuple(path), tuple(unknown))
