"""How often the diagnosis names the fault that was injected, and whether its advice gains what it promises.

Each trace runs the real loader and its accounting for a few seconds with a real fault (tests/benchmarks/
diagnosis_faults.py), before a simulated accelerator that takes time and no CPU, or with the real trainer on the CPU.
The rules' bounds are those of the program; they were fixed before the seeds that docs/diagnosis.md reports. The rules
of folk wisdom and of a rival judge the same traces.

    python tests/benchmarks/diagnosis.py --json --runs 3        about twenty minutes on two cores
    python tests/benchmarks/diagnosis.py --only disk --runs 1   one cause
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import harness
import photos
import psutil
from diagnosis_calibrate import calibrate
from diagnosis_catalogue import FAULTS, HEALTHY, PAIRS, REAL, Fault
from diagnosis_faults import Costs, Draw, Strength, draw
from diagnosis_score import Outcome, figures, foreign_cores, judge, matrix, rate_of, table
from diagnosis_setup import Setup, Unavailable
from diagnosis_trace import prepare, record

from gputrain.engine.events import AnyEvent, Hint

IMAGES = 512
_APPLIED = {"num_workers", "prefetch_factor", "persistent_workers", "loader"}
"""Settings that a trace can be run again with."""
_QUIET_CORES, _AGAIN = 0.3, 2
"""Cores that others may use, before and during a trace; a trace beside more is recorded again, so often at most."""
_STRENGTHS: tuple[Strength, ...] = ("strong", "mild")


Case = tuple[str, str, Fault, Strength]
"""A kind of trace: group, name, fault, strength."""


def cases(only: list[str]) -> Iterator[Case]:
    """All kinds of traces."""
    groups: list[tuple[str, dict[str, Fault], Iterable[Strength]]] = [
        ("single", FAULTS, _STRENGTHS),
        ("healthy", HEALTHY, ("strong",)),
        ("pairs", PAIRS, ("strong",)),
        ("trainer", REAL, ("strong",)),
    ]
    for group, faults, strengths in groups:
        for name, fault in faults.items():
            if only and name not in only and group not in only:
                continue
            for strength in strengths:
                yield group, name, fault, strength


def wait_for_quiet(seconds: float) -> float:
    """Wait up to `seconds` until others use few cores; returns how many they use."""
    until = time.monotonic() + seconds
    while True:
        others = psutil.cpu_percent(0.5) / 100 * (os.cpu_count() or 1)
        if others < _QUIET_CORES or time.monotonic() > until:
            return others


def run(case: Case, costs: Costs, by: Draw, quiet: float) -> Outcome:
    """Record one trace and judge it; with its advice applied, another."""
    group, name, fault, strength = case
    setup = fault.make(costs, by)
    try:
        events, others, again = _undisturbed(setup, quiet)
    except Unavailable as error:
        return Outcome(group, name, strength, by.seed, fault.causes, unavailable=str(error))
    signals, hints = judge(events, setup)
    outcome = Outcome(group, name, strength, by.seed, fault.causes, signals, tuple(hints), others=others, again=again)
    return _tried(outcome, setup, hints[0], rate_of(events, setup), quiet) if hints else outcome


def _undisturbed(setup: Setup, quiet: float) -> tuple[list[AnyEvent], float, int]:
    """A trace's events, the cores that programs took that nobody injected, and how often it was recorded again."""
    again = 0
    while True:
        wait_for_quiet(quiet)
        events = record(setup)
        others = 0.0 if setup.machine.burners else foreign_cores(events)
        if others <= _QUIET_CORES or again == _AGAIN:
            return events, others, again
        again += 1


def _tried(outcome: Outcome, setup: Setup, hint: Hint, before: float, quiet: float) -> Outcome:
    """`outcome` with what the first advice promised, and what it gave."""
    promised = hint.prediction
    if promised is None or promised.low is None or promised.high is None or not hint.changes.keys() <= _APPLIED:
        return outcome
    changed = replace(setup, settings={**setup.settings, **hint.changes})
    events, _, _ = _undisturbed(changed, quiet)
    after = rate_of(events, changed)
    return replace(outcome, before=before, after=after, promised=(promised.low + promised.high) / 2)


def main() -> None:
    """Run all traces and print the figures, the matrix, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=20_000, help="of the first trace; below 20000: used for tuning")
    parser.add_argument("--runs", type=int, default=3, help="traces of each kind")
    parser.add_argument("--only", nargs="*", default=[], help="causes, or groups: single healthy pairs trainer")
    parser.add_argument("--folder", type=Path, help="keep the drawn images here")
    parser.add_argument("--quiet", type=float, default=20.0, help="seconds to wait for a quiet machine before a trace")
    parser.add_argument("--traces", type=Path, help="write each trace's verdict here, a JSON object a line")
    options = parser.parse_args()
    chosen = list(cases(options.only))
    if not chosen:
        parser.error(f"--only: {' '.join(options.only)} is none of the causes or groups")
    prepare()
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as temporary:
        folder = str(photos.draw((options.folder or Path(temporary)) / "photos-small", IMAGES, (320, 240)))
        costs = calibrate(folder, IMAGES)
        outcomes = []
        for number in range(options.runs):
            for place, case in enumerate(chosen):
                by = draw(folder, options.seed + 1000 * number + place, case[3])
                outcomes.append(run(case, costs, by, options.quiet))
                print(outcomes[-1].line(), file=sys.stderr, flush=True)
                if options.traces is not None:
                    with options.traces.open("a") as file:
                        file.write(json.dumps(outcomes[-1].as_json()) + "\n")
    versions = harness.versions(("torch", "psutil", "msgspec"))
    if options.json:
        extra = {"matrix": matrix(outcomes), "versions": versions, "seed": options.seed, "runs": options.runs}
        print(harness.report(figures(outcomes), {}, extra))
        return
    print(table(outcomes))


if __name__ == "__main__":
    main()
