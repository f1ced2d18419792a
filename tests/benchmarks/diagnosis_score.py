"""Accuracy of the verdicts, gain of the advice, and the confusion matrix."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from diagnosis_trial import Trial
from diagnosis_verdict import folk, rival

from gputrain.engine.diagnosis.windows.signals import Signals
from gputrain.engine.events import Hint

_FINE = frozenset({"compute-bound", "cpu-compute", "gpu-neighbour"})
_UNSURE = frozenset({"data-wait"})
_Z = 1.96


@dataclass(frozen=True)
class Outcome:
    """A trace and its verdict."""

    group: str
    name: str
    strength: str
    seed: int
    causes: frozenset[str]
    """The hints that name what was injected: a fault may have several names."""
    parts: tuple[frozenset[str], ...] = ()
    """Of a pair, those of each fault."""
    signals: Signals | None = None
    hints: tuple[Hint, ...] = ()
    raised: frozenset[str] = frozenset()
    """All hints that were shown on the way."""
    unavailable: str = ""
    others: float = 0.0
    """Cores used by programs other than the trace and the injected ones."""
    again: int = 0
    """How often it was recorded again because of such programs."""
    trial: Trial | None = None
    untried: str = ""
    """Why the advice was not tried."""

    @property
    def first(self) -> str:
        """The first hint's cause; empty for none."""
        return self.hints[0].id if self.hints else ""

    @property
    def well(self) -> bool:
        """Nothing is wrong in it."""
        return "healthy" in self.name

    @property
    def right(self) -> bool:
        """The first hint names a cause."""
        return self.first in self.causes

    @property
    def right_of_two(self) -> bool:
        """One of the first two does."""
        return any(hint.id in self.causes for hint in self.hints[:2])

    @property
    def both(self) -> bool:
        """The first two name both faults of a pair."""
        said = {hint.id for hint in self.hints[:2]}
        return bool(self.parts) and all(said & part for part in self.parts)

    @property
    def false_alarm(self) -> bool:
        """Some hint was raised, if only for a while."""
        return not self.raised <= _FINE | self.causes

    @property
    def abstained(self) -> bool:
        """No hint, or none with a certain cause, was raised."""
        return not self.hints or self.first in _UNSURE

    def line(self) -> str:
        """One line of progress."""
        said = self.unavailable or ", ".join(hint.id for hint in self.hints[:3]) or "nothing"
        tried = ""
        if self.trial is not None:
            promised = self.trial.left_out or f"{self.trial.promised:.0f} promised"
            tried = f"  {self.trial.before.value:.0f} → {self.trial.after.value:.0f} img/s ({promised})"
        mark = "–" if self.unavailable else "✓" if self.right and not (self.well and self.false_alarm) else "✗"
        return f"{mark} {self.group} {self.name} ({self.strength}, {self.seed}): {said}{tried}"

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        signals = (
            {}
            if self.signals is None
            else {name: getattr(self.signals, name) for name in self.signals.__struct_fields__ if name != "settings"}
        )
        return {
            "group": self.group,
            "name": self.name,
            "strength": self.strength,
            "seed": self.seed,
            "said": [hint.id for hint in self.hints],
            "raised": sorted(self.raised),
            "others": self.others,
            "again": self.again,
            "trial": None if self.trial is None else self.trial.as_json(),
            "untried": self.untried,
            "unavailable": self.unavailable,
            "signals": signals,
        }


def wilson(right: int, count: int) -> tuple[float, float] | None:
    """95 % interval of a share (Wilson 1927); None without traces."""
    if not count:
        return None
    share, z2 = right / count, _Z * _Z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count)) / (1 + z2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def share(outcomes: Iterable[Outcome], right: Callable[[Outcome], bool]) -> dict[str, Any]:
    """A share with its count and interval; `value` is None without outcomes."""
    found = list(outcomes)
    count, hits = len(found), sum(right(one) for one in found)
    return {"value": hits / count if count else None, "right": hits, "count": count, "interval": wilson(hits, count)}


def figures(outcomes: list[Outcome]) -> dict[str, Any]:
    """The benchmark's figures, each with its count and interval, and the matrix."""
    known = [one for one in outcomes if not one.unavailable]
    single = [one for one in known if one.group == "single"]
    well = [one for one in known if one.well]
    pairs = [one for one in known if one.group == "pairs"]
    gpu = [one for one in known if one.group == "gpu"]
    strong = [one for one in single if one.strength == "strong"]
    mild = [one for one in single if one.strength == "mild"]
    return {
        "top1_strong": share(strong, lambda one: one.right),
        "top2_strong": share(strong, lambda one: one.right_of_two),
        "top1_mild": share(mild, lambda one: one.right),
        "top2_mild": share(mild, lambda one: one.right_of_two),
        "pairs_first": share(pairs, lambda one: one.right),
        "pairs_both_in_top2": share(pairs, lambda one: one.both),
        "trainer_top1": share((one for one in known if one.group == "trainer"), lambda one: one.right),
        "gpu_top1": share(gpu, lambda one: one.right),
        "gpu_top2": share(gpu, lambda one: one.right_of_two),
        "false_alarms": share(well, lambda one: one.false_alarm),
        "abstained": share((one for one in known if not one.well), lambda one: one.abstained),
        **_efficacy(known),
        "folk_rules_top1": share(single, lambda one: one.signals is not None and folk(one.signals) in one.causes),
        "rival_rules_top1": share(single, lambda one: one.signals is not None and rival(one.signals) in one.causes),
        "unavailable": sorted({f"{one.name}: {one.unavailable}" for one in outcomes if one.unavailable}),
        "matrix": matrix(outcomes),
    }


def _efficacy(known: list[Outcome]) -> dict[str, Any]:
    """Gain of the first hint's advice, in total and by its cause; and what was not judged, and why.

    Wrong verdicts count as well: a user would have followed their advice.
    """
    tried = [one for one in known if one.trial is not None]
    judged = [one for one in tried if one.trial is not None and one.trial.effective is not None]
    gains: dict[str, list[float]] = {}
    for one in tried:
        if one.trial is not None and one.trial.promised is None and one.trial.before.value:
            gains.setdefault(one.first, []).append(one.trial.gain / one.trial.before.value)
    advised = [one for one in known if one.hints and one.first not in _FINE]
    left_out = Counter(f"{one.first}: {_why(one)}" for one in advised if one not in judged)

    def kept(one: Outcome) -> bool:
        return one.trial is not None and bool(one.trial.effective)

    return {
        "efficacy": share(judged, kept),
        "efficacy_by_cause": {
            cause: share((one for one in judged if one.first == cause), kept)
            for cause in sorted({one.first for one in judged})
        },
        "efficacy_left_out": dict(sorted(left_out.items())),
        "gain_without_promise": {
            cause: {"median": statistics.median(found), "least": min(found), "count": len(found)}
            for cause, found in sorted(gains.items())
        },
        "no_harm": share(tried, lambda one: one.trial is not None and one.trial.harmless),
    }


def _why(one: Outcome) -> str:
    return one.untried if one.trial is None else one.trial.left_out


def matrix(outcomes: Iterable[Outcome]) -> dict[str, dict[str, int]]:
    """The first hint for each kind of trace, and how often."""
    rows: dict[str, Counter[str]] = {}
    for one in outcomes:
        if not one.unavailable:
            row = rows.setdefault(f"{one.group}: {one.name} ({one.strength})", Counter())
            row[one.first or "nothing"] += 1
    return {name: dict(row.most_common()) for name, row in rows.items()}


def table(outcomes: list[Outcome]) -> str:
    """The figures and the matrix as text."""
    found = figures(outcomes)
    shares = {name: one for name, one in found.items() if isinstance(one, dict) and one.get("interval")}
    shares |= {f"efficacy: {cause}": one for cause, one in found["efficacy_by_cause"].items()}
    lines = []
    for name, one in shares.items():
        low, high = one["interval"]
        share = f"{100 * one['value']:5.1f} %  ({100 * low:.0f}–{100 * high:.0f})"
        lines.append(f"{name:28} {share:22} {one['right']} of {one['count']}")
    lines += ["", "not judged by efficacy"]
    lines += [f"{why}  {count}" for why, count in found["efficacy_left_out"].items()]
    lines += [
        "",
        *(f"gain without a promise, {name}: {one}" for name, one in found["gain_without_promise"].items()),
        "",
    ]
    lines += [
        f"{name:45} " + ", ".join(f"{said} {count}" for said, count in row.items())
        for name, row in found["matrix"].items()
    ]
    return "\n".join([*lines, *(f"unavailable: {one}" for one in found["unavailable"])])
