"""Figures and table of the traces of scripts."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from diagnosis_score import Outcome, share
from diagnosis_script_run import OTHERS
from diagnosis_verdict import QUIET_CORES

TRACEML = "traceml-ai"


@dataclass(frozen=True)
class ScriptOutcome:
    """A script under a fault, or a healthy one: our verdict, and traceml's."""

    ours: Outcome
    """Its group is the framework."""
    traceml: str = ""
    """Verdict and advice; empty where it was not asked."""
    traceml_right: bool = False
    traceml_why: str = ""
    """Why it was not asked, or has no verdict."""

    def line(self) -> str:
        """One line of progress."""
        theirs = self.traceml or (f"none ({self.traceml_why})" if self.traceml_why else "")
        why = f"  not tried: {self.ours.untried}" if self.ours.untried else ""
        return self.ours.line() + why + (f"  | traceml: {theirs}" if theirs else "")

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {**self.ours.as_json(), "traceml": self.traceml, "traceml_right": self.traceml_right}


def aside(one: Outcome) -> Outcome:
    """The outcome without the hints that name other programs, where such programs did run beside the trace."""
    if one.others <= QUIET_CORES:
        return one
    hints = tuple(hint for hint in one.hints if hint.id not in OTHERS)
    return replace(one, hints=hints, raised=one.raised - OTHERS)


def figures(outcomes: list[ScriptOutcome]) -> dict[str, Any]:
    """Shares with counts and intervals; ``value`` is None where nothing was measured."""
    known = [one.ours for one in outcomes if not one.ours.unavailable]
    faults = [one for one in known if not one.well]
    tried = [one for one in known if one.trial is not None]
    judged = [one for one in tried if one.trial is not None and one.trial.effective is not None]
    asked = [one for one in outcomes if one.traceml]
    right = {id(one.ours): one.traceml_right for one in asked}
    return {
        "script_top1": share(faults, lambda one: one.right),
        "script_top2": share(faults, lambda one: one.right_of_two),
        "script_efficacy": share(judged, lambda one: one.trial is not None and bool(one.trial.effective)),
        "script_no_harm": share(tried, lambda one: one.trial is not None and one.trial.harmless),
        "script_false_alarms": share((one for one in known if one.well), lambda one: one.false_alarm),
        "traceml_top1": share((one.ours for one in asked), lambda one: right[id(one)]),
        "script_disturbed": sum(one.others > QUIET_CORES for one in known),
        "script_top1_aside_from_others": share(map(aside, faults), lambda one: one.right),
        "script_false_alarms_aside_from_others": share(
            (aside(one) for one in known if one.well), lambda one: one.false_alarm
        ),
        "script_gain": _median(one.trial.after.value / one.trial.before.value for one in tried if one.trial),
        "script_rate_over_predicted": _median(
            one.trial.after.value / one.trial.promised for one in judged if one.trial and one.trial.promised
        ),
        "script_top1_by_framework": {
            name: share((one for one in faults if one.group == name), lambda one: one.right)
            for name in dict.fromkeys(one.ours.group for one in outcomes)
        },
        "script_unavailable": sorted(
            {f"{one.ours.group}, {one.ours.name}: {one.ours.unavailable}" for one in outcomes if one.ours.unavailable}
        ),
        "traceml_unavailable": sorted({one.traceml_why for one in outcomes if one.traceml_why}),
        "script_untried": sorted({f"{one.first}: {one.untried}" for one in known if one.untried}),
        "matrix": _matrix(outcomes),
    }


def ratios(found: dict[str, Any]) -> tuple[dict[str, float | None], dict[str, str]]:
    """Our share of causes named over traceml's, and the reasons of those that are None."""
    ours, theirs = found["script_top1"]["value"], found["traceml_top1"]["value"]
    if ours is None or not theirs:
        return {"top1_vs_traceml": None}, {"top1_vs_traceml": "traceml named no cause, or one of both did not run"}
    return {"top1_vs_traceml": ours / theirs}, {}


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None


def _matrix(outcomes: list[ScriptOutcome]) -> dict[str, dict[str, list[str]]]:
    """By fault and framework what was said first."""
    rows: dict[str, dict[str, list[str]]] = {}
    for one in outcomes:
        said = one.ours.unavailable or one.ours.first or "nothing"
        if one.ours.well and one.ours.false_alarm:
            said += f" (raised: {', '.join(sorted(one.ours.raised))})"
        row = rows.setdefault(one.ours.name, {})
        row.setdefault(one.ours.group, []).append(said)
        if one.traceml:
            row.setdefault(f"{one.ours.group}, {TRACEML}", []).append(one.traceml)
    return rows


def table(outcomes: list[ScriptOutcome]) -> str:
    """The figures as text, and what was said by fault and framework."""
    found = figures(outcomes)
    lines = []
    for name, one in found.items():
        if isinstance(one, dict) and one.get("interval"):
            low, high = one["interval"]
            percent = f"{100 * one['value']:5.1f} %  ({100 * low:.0f}–{100 * high:.0f})"
            lines.append(f"{name:37} {percent:22} {one['right']} of {one['count']}")
    lines += [f"{name:37} {found[name]}" for name in ("script_gain", "script_rate_over_predicted", "script_disturbed")]
    for name, row in found["matrix"].items():
        lines += ["", name, *(f"  {who:24} {'; '.join(said)}" for who, said in row.items())]
    notes = [*found["script_unavailable"], *(f"traceml: {one}" for one in found["traceml_unavailable"])]
    notes += [f"not tried: {one}" for one in found["script_untried"]]
    return "\n".join([*lines, "", *notes])
