"""From the signals of one window to hints: evaluates the whole decision tree once. Pure.

A tree, not single thresholds: low GPU utilization has a dozen causes, and more workers help against one of them. Each
hint carries the path through the tree, and names signals that are missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gputrain.engine.diagnosis import (
    device_bound_causes,
    input_bound_causes,
    memory_causes,
    script_causes,
    trace_causes,
)
from gputrain.engine.diagnosis.lr_advice import with_lr
from gputrain.engine.diagnosis.script_advice import in_script_words, is_script, script_title
from gputrain.engine.diagnosis.speedup_prediction import predict, was_reverted
from gputrain.engine.diagnosis.tree_nodes import Cause, walk_tree
from gputrain.engine.diagnosis.windows.signals import Signals
from gputrain.engine.events import Hint, Prediction

CAUSES: tuple[Cause, ...] = (
    *memory_causes.PRESSURE,
    *(cause for family in input_bound_causes.FAMILIES for cause in family),
    input_bound_causes.UNEXPLAINED,
    script_causes.TWICE,
    *trace_causes.TRACED,
    *device_bound_causes.STALLS,
    *device_bound_causes.RANKS,
    *device_bound_causes.DEVICE,
    device_bound_causes.CONTENTION,
    *device_bound_causes.HEALTHY,
    device_bound_causes.NEIGHBOUR,
)
"""All causes; of equal severity and cost, the earlier one is listed first."""

_RANK = {"critical": 0, "warning": 1, "info": 2}
_PLACE = {cause.id: place for place, cause in reversed(list(enumerate(CAUSES)))}
_REMARKS = {"gpu-neighbour", "oversubscribed"}
"""Causes that a healthy run may show as well."""

_MISSING_NAMED = 3


def evaluate(signals: Signals) -> dict[str, Hint]:
    """The hints of one window by cause id, the most important first."""
    found = {hint.id: hint for hint in (*_input_bound_hints(signals), *_other_hints(signals))}
    if "cpu-neighbour" in found:
        # Both name the same programs; `cpu-neighbour` shows what they cost the workers.
        found.pop(device_bound_causes.CONTENTION.id, None)
    for traced, others in trace_causes.INSTEAD.items():
        if traced in found:
            for other in others:
                found.pop(other, None)
    if found.keys() <= _REMARKS:
        walked = walk_tree(device_bound_causes.HEALTHY, signals)
        if walked.found is not None:
            healthy = hint_of(walked.found, signals, (*_ruled_out(signals), *walked.path))
            found[healthy.id] = healthy
    return {hint.id: hint for hint in ranked(found.values())}


def ranked(hints: Iterable[Hint]) -> list[Hint]:
    """Sorted by severity, then by the share of time lost, then by the tree's order."""
    return sorted(hints, key=lambda hint: (_RANK[hint.severity], -round(hint.share, 1), _PLACE[hint.id]))


def _ruled_out(s: Signals) -> list[str]:
    """Path lines of the causes that must not hold in a healthy run."""
    waits = f"✗ The loop waits for data: {input_bound_causes.WAIT.describe_with_bounds(s)}"
    ranks = device_bound_causes.RANKS if s.ranks > 1 else ()
    return [
        waits,
        *(
            cause.step(s)
            for cause in (*device_bound_causes.STALLS, *ranks, *device_bound_causes.DEVICE, *memory_causes.PRESSURE)
        ),
        *(
            cause.step(s)
            for cause in (trace_causes.TRACED if s.trace is not None else ())
            if cause.holds(s) is not None
        ),
    ]


def _input_bound_hints(s: Signals) -> list[Hint]:
    """Hints of an input-bound run: at most one cause of each family, in the order of the families."""
    if not input_bound_causes.WAIT.answer(s):
        return (
            [
                hint_of(
                    input_bound_causes.HARMLESS_OVERSUBSCRIPTION,
                    s,
                    (input_bound_causes.HARMLESS_OVERSUBSCRIPTION.step(s),),
                )
            ]
            if input_bound_causes.HARMLESS_OVERSUBSCRIPTION.holds(s)
            else []
        )
    found: list[tuple[Cause, list[Cause]]] = []
    path: list[str] = []
    unknown: list[Cause] = []
    explained: dict[str, Cause] = {}
    for family in input_bound_causes.FAMILIES:
        walked = walk_tree(family, s, explained)
        path += walked.path
        if walked.found is None:
            unknown += walked.open
            continue
        found.append((walked.found, [*unknown, *walked.open]))
        explained |= dict.fromkeys(input_bound_causes.EXPLAINS.get(walked.found.id, ()), walked.found)
    if not found and input_bound_causes.UNEXPLAINED.holds(s):
        found.append((input_bound_causes.UNEXPLAINED, unknown))
    # Each hint shows the whole path: it contains the causes that were ruled out.
    return [hint_of(cause, s, path, passed) for cause, passed in found]


def _other_hints(s: Signals) -> list[Hint]:
    """Hints that do not depend on waiting for data."""
    hints: dict[str, Hint] = {}
    ranks = device_bound_causes.RANKS if s.ranks > 1 else ()
    for cause in (
        *memory_causes.PRESSURE,
        *device_bound_causes.STALLS,
        *ranks,
        device_bound_causes.CONTENTION,
        device_bound_causes.NEIGHBOUR,
        *trace_causes.TRACED,
        *((script_causes.TWICE,) if is_script(s.settings) else ()),
    ):
        if cause.holds(s):
            hints.setdefault(cause.id, hint_of(cause, s, (cause.step(s),)))
    walked = walk_tree(device_bound_causes.DEVICE, s)
    if walked.found is not None:
        hints[walked.found.id] = hint_of(walked.found, s, walked.path, walked.open)
    return list(hints.values())


def _prediction(s: Signals, changes: dict[str, Any]) -> Prediction | None:
    """The predicted effect of `changes`; the measured one where they were tried and reverted."""
    before = s.reverted_trial(changes) if changes else None
    return was_reverted(before) if before is not None else predict(s, changes)


def hint_of(cause: Cause, s: Signals, path: Iterable[str], unknown: Iterable[Cause] = ()) -> Hint:
    """The hint of a cause that holds; `unknown` are earlier causes that could not be ruled out."""
    fix = cause.fix(s)
    script = is_script(s.settings)
    fix = in_script_words(fix, s.settings) if script else with_lr(fix, s.settings)
    evidence = cause.evidence(s)
    passed = list(unknown)
    if passed:
        missing = list(dict.fromkeys(text for one in passed for text in one.missing(s)))
        more = f" and {len(missing) - _MISSING_NAMED} more" if len(missing) > _MISSING_NAMED else ""
        evidence.append(f"not measured here: {', '.join(missing[:_MISSING_NAMED])}{more}")
    return Hint(
        id=cause.id,
        severity=cause.severity_for(s),
        title=script_title(cause.id, cause.title, s.bytes_per_sample) if script else cause.title,
        evidence=", ".join(evidence),
        action=fix.action,
        changes=fix.changes,
        share=round(cause.costs(s) or 0.0, 4),
        prediction=_prediction(s, fix.changes),
        disproof=cause.disproof,
        path=tuple(path),
    )
