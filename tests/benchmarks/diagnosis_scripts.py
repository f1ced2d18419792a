"""``diagnosis.py --scripts``: causes named, changes made and false alarms in training scripts that nobody edited.

Five faults, injected into a plain PyTorch script, a Lightning script and one with HF Trainer, all run by the program's
``exec``; the first hint's change is made in the running script, as the key `a` does it. Beside it the verdict of
traceml-ai on the same scripts.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diagnosis_script_peers as peers
import harness
import photos
from diagnosis_machine import MachineFault, Unavailable, injected
from diagnosis_score import Outcome
from diagnosis_script_cases import (
    FAULTS,
    HEALTHY,
    NEIGHBOUR,
    PACKAGES,
    SAMPLE_SECONDS,
    SCRIPTS,
    Costs,
    ScriptCase,
    ScriptSetup,
)
from diagnosis_script_run import WINDOW, Watched, watch
from diagnosis_script_score import TRACEML, ScriptOutcome, figures, ratios, table
from diagnosis_verdict import QUIET_CORES, wait_for_quiet

_IMAGES = 256
_AGAIN = 1
"""A trace beside other programs is recorded again, so often at most."""
_QUOTA = "CPU quota"
_VERSIONS = """
import json, sys
from importlib import metadata
found = {"python": sys.version.split()[0]}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        found[name] = None
print(json.dumps(found))
"""


class Missing(Exception):  # noqa: N818 - the name states the condition
    """A package without which there is nothing to measure."""


@dataclass(frozen=True)
class _Trace:
    framework: str
    name: str
    case: ScriptCase
    seed: int


class _Bench:
    """All traces with one interpreter."""

    def __init__(self, options: argparse.Namespace, folder: str) -> None:
        """Raises Missing."""
        self.python = options.script_python
        self.versions = versions(self.python)
        if self.versions["torch"] is None or self.versions["torchvision"] is None:
            raise Missing(f"the scripts need torch: {_install(self.python, 'torch', 'torchvision')}")
        self._options = options
        self._folder = folder
        self._costs = _costs(folder)
        self.quota_by = _quota_by()
        self._traceml_why = self._why_no_traceml()

    def _why_no_traceml(self) -> str:
        if self._options.no_traceml:
            return "--no-traceml"
        if self.versions[TRACEML] is None or not peers.program(self.python).exists():
            return f"not installed: {TRACEML}; install: {_install(self.python, f'{TRACEML}==0.5.0')}"
        return ""

    def measure(self) -> list[ScriptOutcome]:
        """All outcomes, reported one by one on stderr."""
        plan = list(_plan(self._options))
        outcomes: list[ScriptOutcome] = []
        began = time.monotonic()
        for trace in plan:
            outcomes.append(self._run(trace))
            seconds = time.monotonic() - began
            print(f"{len(outcomes)}/{len(plan)}, {seconds:.0f} s  {outcomes[-1].line()}", file=sys.stderr, flush=True)
            if self._options.traces is not None:
                with self._options.traces.open("a") as file:
                    file.write(json.dumps(outcomes[-1].as_json()) + "\n")
        return outcomes

    def _run(self, trace: _Trace) -> ScriptOutcome:
        case = trace.case
        if trace.name == _QUOTA and self.quota_by == NEIGHBOUR_NAME:
            case = replace(case, make=NEIGHBOUR.make, causes=NEIGHBOUR.causes)
        setup = case.make(self._costs, random.Random(trace.seed))
        ours = Outcome(trace.framework, trace.name, "strong", trace.seed, case.causes)
        why = _why_missing(trace.framework, self.python, self.versions)
        if why:
            return ScriptOutcome(replace(ours, unavailable=why))
        ours = self._watch(ours, setup)
        if "healthy" in trace.name or self._traceml_why or (self._options.quick and trace.framework != "plain"):
            return ScriptOutcome(ours, traceml_why="" if "healthy" in trace.name else self._traceml_why)
        try:
            status, action = peers.verdict(self.python, trace.framework, setup, self._folder)
        except Unavailable as error:
            return ScriptOutcome(ours, traceml_why=str(error))
        return ScriptOutcome(ours, f"{status}: {action}", peers.names(action, trace.name))

    def _watch(self, ours: Outcome, setup: ScriptSetup) -> Outcome:
        again = 0
        while True:
            wait_for_quiet(self._options.quiet)
            try:
                found = watch(self.python, ours.group, setup, self._folder)
            except Unavailable as error:
                return replace(ours, unavailable=str(error))
            others = 0.0 if setup.machine.others else _mean(found)
            if others <= QUIET_CORES or again == _AGAIN or not self._options.quiet:
                break
            again += 1
        if found.why:
            return replace(ours, unavailable=found.why)
        return replace(
            ours,
            signals=found.signals,
            hints=found.hints,
            raised=found.raised,
            others=others,
            again=again,
            trial=found.trial,
            untried=found.untried,
        )


def _mean(found: Watched) -> float:
    return sum(found.foreign) / len(found.foreign) if found.foreign else 0.0


def _plan(options: argparse.Namespace) -> Iterator[_Trace]:
    """Each fault in each framework `runs` times, by turns, and the healthy ones; `quick`: fewer of both."""
    for number in range(options.runs):
        for place, (name, case) in enumerate({**FAULTS, **HEALTHY}.items()):
            for turn, framework in enumerate(PACKAGES):
                healthy = name in HEALTHY
                # A healthy setting is left out by turns, so that each framework has all but one.
                left_out = healthy and (place + turn + number) % (2 if options.quick else 4) == 0
                if left_out or (options.quick and not healthy and framework != "plain"):
                    continue
                if not options.only or name in options.only or framework in options.only:
                    yield _Trace(framework, name, case, options.seed + 1000 * number + 10 * place + turn)


def _costs(folder: str) -> Costs:
    """What a sample costs here, by the scripts' own function."""
    sys.path.insert(0, str(SCRIPTS))
    import torch

    make = importlib.import_module("faulty_data").make

    torch.set_num_threads(1)
    files = [path.read_bytes() for path in sorted(Path(folder).rglob("*.jpg"))[:64]]

    def seconds(decodes: int) -> float:
        taken = []
        for _ in range(3):
            began = time.thread_time()
            for data in files:
                make(data, decodes)
            taken.append((time.thread_time() - began) / len(files))
        return min(taken)

    decodes = max(1, round(SAMPLE_SECONDS / max(1e-5, (seconds(5) - seconds(1)) / 4)))
    return Costs(seconds(decodes), decodes, len(os.sched_getaffinity(0)))


NEIGHBOUR_NAME = "programs that use the CPU, as no cgroup can be made here"


def _quota_by() -> str:
    """How the CPU is taken away."""
    try:
        with injected(MachineFault(quota=1.0)):
            return "cgroup"
    except Unavailable:
        return NEIGHBOUR_NAME


def versions(python: str) -> dict[str, str | None]:
    """Versions of the packages in the scripts' interpreter. Raises Missing if it does not run."""
    names = [*PACKAGES.values(), "torchvision", "accelerate", TRACEML]
    try:
        done = subprocess.run([python, "-c", _VERSIONS, *names], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Missing(f"--script-python {python}: does not run: {error}") from None
    found: dict[str, str | None] = json.loads(done.stdout)
    return found


def _install(python: str, *packages: str) -> str:
    return f"{python} -m pip install {' '.join(packages)}"


def _why_missing(framework: str, python: str, found: dict[str, str | None]) -> str:
    """Why a framework's script can't run; empty if it can."""
    wanted = [PACKAGES[framework], *(["accelerate"] if framework == "transformers" else [])]
    missing = [name for name in wanted if found[name] is None]
    return f"not installed: {', '.join(missing)}; install: {_install(python, *missing)}" if missing else ""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options that only ``--scripts`` uses."""
    parser.add_argument("--scripts", action="store_true", help="training scripts of others under `exec`, ≤ 15 minutes")
    parser.add_argument(
        "--quick", action="store_true", help="with --scripts: the plain script alone, and fewer healthy"
    )
    parser.add_argument("--script-python", default=sys.executable, metavar="PYTHON", help="interpreter of the scripts")
    parser.add_argument("--no-traceml", action="store_true", help="with --scripts: without traceml's verdicts")


def report(options: argparse.Namespace) -> str:
    """All figures as text or JSON. Raises Missing."""
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as temporary:
        os.environ |= {"GPUTRAIN_HOME": f"{temporary}/home", "GPUTRAIN_CACHE": f"{temporary}/cache"}
        folder = photos.draw((options.folder or Path(temporary)) / "photos-small", _IMAGES, (320, 240))
        bench = _Bench(options, str(folder))
        outcomes = bench.measure()
    if not options.json:
        return table(outcomes)
    found = figures(outcomes)
    compared, reasons = ratios(found)
    extra: dict[str, Any] = {"reasons": reasons, "versions": bench.versions, "quota_by": bench.quota_by}
    extra |= {"seed": options.seed, "runs": options.runs, "window": WINDOW}
    return harness.report(found, compared, extra)
