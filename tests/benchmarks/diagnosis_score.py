"""Judging traces: the program's verdict, the folk rules' and a rival's, and how often each was right."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from diagnosis_setup import Setup

from gputrain.engine.diagnosis.rules import evaluate
from gputrain.engine.diagnosis.signals import Signals
from gputrain.engine.diagnosis.window import Window, mean
from gputrain.engine.events import AnyEvent, HardwareSample, Hint, Steps

WARM_UP = 1.0
"""Seconds of a trace until which the queue that was filled before flatters the figures."""
_FINE = frozenset({"compute-bound", "cpu-compute", "gpu-neighbour"})
_UNSURE = frozenset({"data-wait"})
_ENOUGH = 0.5
"""Share of the promised gain that the advice has to bring."""
_Z = 1.96


@dataclass(frozen=True)
class Outcome:
    """A trace and what was said about it."""

    group: str
    name: str
    strength: str
    seed: int
    causes: frozenset[str]
    signals: Signals | None = None
    hints: tuple[Hint, ...] = ()
    unavailable: str = ""
    others: float = 0.0
    """Cores that programs used beside the trace that nobody injected."""
    again: int = 0
    """How often it was recorded again because of such programs."""
    before: float | None = None
    after: float | None = None
    promised: float | None = None

    @property
    def first(self) -> str:
        """The first hint's cause; empty for none."""
        return self.hints[0].id if self.hints else ""

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
        """The first two are both causes of a pair."""
        return {hint.id for hint in self.hints[:2]} >= self.causes

    @property
    def false_alarm(self) -> bool:
        """Something is said to be wrong."""
        return not {hint.id for hint in self.hints} <= _FINE | self.causes

    @property
    def abstained(self) -> bool:
        """Nothing, or nothing certain, was said."""
        return not self.hints or self.first in _UNSURE

    @property
    def effective(self) -> bool | None:
        """The advice brought half of what it promised; None: it promised nothing that can be tried here."""
        if self.before is None or self.after is None or self.promised is None:
            return None
        gain = max(0.0, self.promised - self.before)
        return self.after >= self.before + _ENOUGH * gain - 0.03 * self.before

    def line(self) -> str:
        """For a person who waits."""
        said = self.unavailable or ", ".join(hint.id for hint in self.hints[:3]) or "nothing"
        tried = "" if self.after is None else f"  {self.before:.0f} → {self.after:.0f} of {self.promised:.0f} img/s"
        mark = "✓" if self.right and not (self.group == "healthy" and self.false_alarm) else "✗"
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
            "others": self.others,
            "again": self.again,
            "before": self.before,
            "after": self.after,
            "promised": self.promised,
            "unavailable": self.unavailable,
            "signals": signals,
        }


def judge(events: Iterable[AnyEvent], setup: Setup) -> tuple[Signals | None, list[Hint]]:
    """The verdict on a trace: one window over all of it but its start."""
    window = Window(seconds=setup.seconds, warm_up=WARM_UP, least=1.0)
    for event in events:
        window.feed(event)
    signals = window.signals()
    return signals, [] if signals is None else list(evaluate(signals).values())


def rate_of(events: Iterable[AnyEvent], setup: Setup) -> float:
    """Images per second of a trace after its start."""
    steps = [event for event in events if isinstance(event, Steps)]
    kept = [one for one in steps if one.mono - steps[0].mono >= WARM_UP]
    images = sum(one.images_per_second * one.window_seconds for one in kept)
    return images / sum(one.window_seconds for one in kept) if kept else 0.0


def foreign_cores(events: Iterable[AnyEvent]) -> float:
    """Cores that programs outside the run used during a trace."""
    samples = [event for event in events if isinstance(event, HardwareSample)]
    return mean((one.foreign_cpu, one.interval) for one in samples) or 0.0


def folk(s: Signals) -> str:
    """The three rules of folk wisdom, as the seeds of this project have them."""
    if s.ram_used is not None and s.ram_used > 0.90:
        return "ram-pressure"
    if s.cpu is not None and s.cpu > 95:
        return "oversubscribed"
    if s.utilization is not None and s.utilization < 70:
        return "few-workers"
    return "compute-bound"


def rival(s: Signals) -> str:
    """Shares of a step, as the TensorFlow profiler's input-pipeline analysis: input-bound, or not, and by what."""
    if s.wait >= 0.20 or (s.wait >= 0.05 and s.wait >= max(s.gap, s.exposed_copy or 0.0)):
        # It splits the host's time into reading files and preparing, and advises workers for the latter.
        return "disk" if (s.read_share or 0.0) >= 0.5 else "few-workers"
    if (s.exposed_copy or 0.0) >= 0.10:
        return "host-copy"
    return "launch-bound" if s.gap >= 0.10 else "compute-bound"


def wilson(right: int, count: int) -> tuple[float, float] | None:
    """95 % interval of a share (Wilson 1927); None without traces."""
    if not count:
        return None
    share, z2 = right / count, _Z * _Z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count)) / (1 + z2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def _share(outcomes: Iterable[Outcome], right: Callable[[Outcome], bool]) -> dict[str, Any]:
    found = list(outcomes)
    count, hits = len(found), sum(right(one) for one in found)
    return {"value": hits / count if count else None, "right": hits, "count": count, "interval": wilson(hits, count)}


def figures(outcomes: list[Outcome]) -> dict[str, Any]:
    """The benchmark's figures, each with its count and interval."""
    known = [one for one in outcomes if not one.unavailable]
    single = [one for one in known if one.group == "single"]
    faults = [one for one in known if one.group != "healthy" and one.name != "healthy"]
    well = [one for one in known if one.group == "healthy" or one.name == "healthy"]
    pairs = [one for one in known if one.group == "pairs"]
    tried = [one for one in known if one.effective is not None]
    strong = [one for one in single if one.strength == "strong"]
    mild = [one for one in single if one.strength == "mild"]
    return {
        "top1_strong": _share(strong, lambda one: one.right),
        "top2_strong": _share(strong, lambda one: one.right_of_two),
        "top1_mild": _share(mild, lambda one: one.right),
        "top2_mild": _share(mild, lambda one: one.right_of_two),
        "pairs_first": _share(pairs, lambda one: one.right),
        "pairs_both_in_top2": _share(pairs, lambda one: one.both),
        "trainer_top1": _share((one for one in known if one.group == "trainer"), lambda one: one.right),
        "false_alarms": _share(well, lambda one: one.false_alarm),
        "abstained": _share(faults, lambda one: one.abstained),
        "efficacy": _share(tried, lambda one: bool(one.effective)),
        "folk_rules_top1": _share(single, lambda one: one.signals is not None and folk(one.signals) in one.causes),
        "rival_rules_top1": _share(single, lambda one: one.signals is not None and rival(one.signals) in one.causes),
        "unavailable": sorted({f"{one.name}: {one.unavailable}" for one in outcomes if one.unavailable}),
    }


def matrix(outcomes: Iterable[Outcome]) -> dict[str, dict[str, int]]:
    """What was said first for each kind of trace, and how often."""
    rows: dict[str, Counter[str]] = {}
    for one in outcomes:
        if not one.unavailable:
            row = rows.setdefault(f"{one.group}: {one.name} ({one.strength})", Counter())
            row[one.first or "nothing"] += 1
    return {name: dict(row.most_common()) for name, row in rows.items()}


def table(outcomes: list[Outcome]) -> str:
    """The figures and the matrix for a person."""
    lines = []
    for name, found in figures(outcomes).items():
        if isinstance(found, dict) and found["count"]:
            low, high = found["interval"]
            share = f"{100 * found['value']:5.1f} %  ({100 * low:.0f}–{100 * high:.0f})"
            lines.append(f"{name:20} {share:22} {found['right']} of {found['count']}")
    lines.append("")
    lines += [
        f"{name:45} " + ", ".join(f"{said} {count}" for said, count in row.items())
        for name, row in matrix(outcomes).items()
    ]
    return "\n".join(lines)
