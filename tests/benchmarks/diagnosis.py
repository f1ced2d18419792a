"""How often the diagnosis names the injected fault, and whether its advice gains what it predicts.

Each trace runs the real loader and its accounting for some seconds with a real fault (tests/benchmarks/
diagnosis_faults.py), before a simulated accelerator that takes time and no CPU, with the real trainer on the CPU, or,
with --gpu, on a CUDA device. The verdict is that of the program's Advisor over three windows. The thresholds are
those of the program, fixed before the seeds that docs/diagnosis.md reports. Common rules of thumb and another
profiler's rules judge the same traces.

    python tests/benchmarks/diagnosis.py --json --runs 5 --healthy 13   about two hours on two cores
    python tests/benchmarks/diagnosis.py --only disk --runs 1           one cause
    python tests/benchmarks/diagnosis.py --gpu --json --runs 1          on a CUDA device, about five minutes
    python tests/benchmarks/diagnosis.py --scripts --json               training scripts of others, 15 minutes
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import diagnosis_gpu
import diagnosis_scripts
import harness
import photos
from diagnosis_calibrate import calibrate
from diagnosis_catalogue import FAULTS, GPU, HEALTHY, PAIRS, REAL, Fault
from diagnosis_faults import Costs, Draw, Strength, draw
from diagnosis_machine import Unavailable
from diagnosis_score import Outcome, figures, table
from diagnosis_setup import WINDOW, Setup
from diagnosis_trace import prepare, record
from diagnosis_trial import changed, trial_of, untried
from diagnosis_verdict import QUIET_CORES, foreign_cores, judge, rate_of, wait_for_quiet

from gputrain.engine.events import AnyEvent

IMAGES = 512
_AGAIN = 2
"""A trace beside other programs is recorded again, so often at most."""
_BOTH: tuple[Strength, ...] = ("strong", "mild")
_GROUPS: dict[str, tuple[dict[str, Fault], tuple[Strength, ...]]] = {
    "single": (FAULTS, _BOTH),
    "healthy": (HEALTHY, ("strong",)),
    "pairs": (PAIRS, ("strong",)),
    "trainer": (REAL, ("strong",)),
    "gpu": (GPU, ("strong",)),
}

Case = tuple[str, str, Fault, Strength]
"""A kind of trace: group, name, fault, strength."""


def cases(only: Iterable[str]) -> Iterator[Case]:
    """All kinds of traces of the groups and causes in `only`."""
    wanted = set(only)
    for group, (faults, strengths) in _GROUPS.items():
        for name, fault in faults.items():
            if name in wanted or group in wanted:
                for strength in strengths:
                    yield group, name, fault, strength


def unknown(only: Iterable[str]) -> str:
    """The error message for names that are neither groups nor causes; empty if there are none."""
    known = [*_GROUPS, *(name for faults, _ in _GROUPS.values() for name in faults)]
    for name in only:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            return f"there is no '{name}'" + (
                f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}"
            )
    return ""


def run(case: Case, costs: Costs, by: Draw, quiet: float, longer: float) -> Outcome:
    """Record and judge one trace, and another one with its advice applied."""
    group, name, fault, strength = case
    outcome = Outcome(group, name, strength, by.seed, fault.causes, fault.parts)
    if group == "gpu" and (why := diagnosis_gpu.missing()):
        return replace(outcome, unavailable=why)
    made = fault.make(costs, by)
    setup = replace(made, window=longer * made.window)
    try:
        events, others, again = _undisturbed(setup, quiet)
    except (Unavailable, RuntimeError) as error:
        # A failed trace does not end a run of hours; it is listed as unavailable.
        return replace(outcome, unavailable=str(error))
    found = judge(events, setup)
    outcome = replace(
        outcome, signals=found.signals, hints=found.hints, raised=found.raised, others=others, again=again
    )
    if not found.hints or found.signals is None:
        return outcome
    hint = found.hints[0]
    if why := untried(setup, hint):
        return replace(outcome, untried=why)
    then = changed(setup, hint)
    try:
        before, after = rate_of(events, setup), rate_of(_undisturbed(then, quiet)[0], then)
    except (Unavailable, RuntimeError) as error:
        return replace(outcome, untried=f"the run with it failed: {error}")
    if before is None or after is None:
        return replace(outcome, untried="the trace was too short for a rate")
    return replace(outcome, trial=trial_of(hint, found.signals.rate, before, after))


def _undisturbed(setup: Setup, quiet: float) -> tuple[list[AnyEvent], float, int]:
    """A trace's events, the cores used by programs that were not injected, and the number of retries."""
    again = 0
    while True:
        wait_for_quiet(quiet)
        events = record(setup)
        others = 0.0 if setup.machine.others else foreign_cores(events)
        if others <= QUIET_CORES or again == _AGAIN or not quiet:
            return events, others, again
        again += 1


def _plan(chosen: list[Case], runs: int, healthy: int, folder: str, seed: int) -> Iterator[tuple[Case, Draw]]:
    """Each kind of trace `runs` times, alternating, so that an interrupted benchmark has some of each."""
    for number in range(max(runs, healthy)):
        for place, case in enumerate(chosen):
            if number < (healthy if case[0] == "healthy" else runs):
                yield case, draw(folder, seed + 1000 * number + place, case[3])


def _measure(chosen: list[Case], options: argparse.Namespace, folder: str) -> list[Outcome]:
    """All traces, reported one by one on stderr."""
    costs = calibrate(folder, IMAGES)
    plan = list(_plan(chosen, options.runs, options.healthy or options.runs, folder, options.seed))
    outcomes: list[Outcome] = []
    began = time.monotonic()
    for case, by in plan:
        outcomes.append(run(case, costs, by, options.quiet, options.window / WINDOW))
        done, seconds = len(outcomes), time.monotonic() - began
        left = seconds / done * (len(plan) - done) / 60
        print(f"{done}/{len(plan)}, {left:.0f} min left  {outcomes[-1].line()}", file=sys.stderr, flush=True)
        if options.traces is not None:
            with options.traces.open("a") as file:
                file.write(json.dumps(outcomes[-1].as_json()) + "\n")
    return outcomes


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=20_000, help="of the first trace; below 20000: used for tuning")
    parser.add_argument("--runs", type=int, help="traces of each kind; default: 3, with --scripts 1")
    parser.add_argument("--healthy", type=int, default=0, help="traces of each kind of healthy run; else as --runs")
    parser.add_argument("--only", nargs="+", default=[], help=f"causes, or groups: {' '.join(_GROUPS)}")
    parser.add_argument("--gpu", action="store_true", help="the traces on a CUDA device, and no others unless --only")
    parser.add_argument("--window", type=float, default=WINDOW, help="seconds of most windows; the program's are of 12")
    parser.add_argument("--folder", type=Path, help="keep the drawn images here")
    parser.add_argument(
        "--quiet", type=float, default=20.0, help="seconds to wait for a quiet machine; 0: take it as it is"
    )
    parser.add_argument("--traces", type=Path, help="write each trace's verdict here, a JSON object a line")
    diagnosis_scripts.add_options(parser)
    return parser


def main() -> None:
    """Run all traces and print the figures, or JSON."""
    parser = _options()
    options = parser.parse_args()
    options.runs = options.runs if options.runs is not None else 1 if options.scripts else 3
    if options.runs < 1 or options.healthy < 0 or options.window < 1:
        parser.error("--runs is 1 at least, --healthy 0, --window 1")
    if options.scripts:
        try:
            print(diagnosis_scripts.report(options))
        except diagnosis_scripts.Missing as error:
            parser.error(str(error))
        return
    if why := unknown(options.only):
        parser.error(f"--only: {why}")
    # A device of one's own is asked for: on most machines there is none.
    default = [] if options.gpu else [group for group in _GROUPS if group != "gpu"]
    chosen = list(cases([*(options.only or default), *(["gpu"] if options.gpu else [])]))
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as temporary:
        # Before the server is started that the traces are forked from.
        os.environ["GPUTRAIN_CACHE"] = f"{temporary}/cache"
        prepare()
        folder = photos.draw((options.folder or Path(temporary)) / "photos-small", IMAGES, (320, 240))
        outcomes = _measure(chosen, options, str(folder))
    versions = harness.versions(("torch", "psutil", "msgspec"))
    if options.json:
        how = {"seed": options.seed, "runs": options.runs, "healthy": options.healthy or options.runs}
        how |= {"window": options.window}
        print(harness.report(figures(outcomes), {}, {"versions": versions, "gpu": diagnosis_gpu.device_name(), **how}))
        return
    print(table(outcomes))


if __name__ == "__main__":
    main()
