"""Tries of the fault matrix: one of each fault in turn, each written at once, so that the matrix can be interrupted."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

from fault_results import kept_lines
from faultlab import Finding, Lab

from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunDir

_KEPT = ("events.jsonl", "trainer.log", "supervisor.log", "config.yaml")
"""Files of a run that are kept of a failed try."""


class AnyFault(Protocol):
    """A fault of the catalogue."""

    @property
    def name(self) -> str:
        """Its name in the results."""
        ...

    def provoke(self, lab: Lab) -> Finding:
        """One try. May raise any exception: the try has failed."""
        ...

    def unavailable(self) -> str:
        """Why it cannot be tried on this machine; empty if it can."""
        ...


def try_all(faults: Sequence[AnyFault], lab: Lab, tries: int, results: Path, *, quiet: bool) -> None:
    """Each fault so many times, but for those tries that stand in `results`. `quiet`: lines go to stderr."""
    reasons = {fault.name: fault.unavailable() for fault in faults}
    for name, reason in reasons.items():
        if reason:
            _say(f"{name:<32} not tried: {reason}", quiet)
    done = {(one["fault"], one["number"]) for one in kept_lines(results)}
    possible = [fault for fault in faults if not reasons[fault.name]]
    for number in range(1, tries + 1):
        for fault in possible:
            if (fault.name, number) in done:
                continue
            # Other moments in each try, also after an interruption.
            lab.random = random.Random(f"{lab.seed}-{fault.name}-{number}")
            line = {"fault": fault.name, "number": number, **_try(fault, lab, results, number)}
            _append(results, json.dumps(line))
            verdict = "survived" if line["survived"] else "FAILED"
            _say(f"{fault.name:<32} {number:>3}: {verdict}, lost {line['lost']}; {line['said']}", quiet)


def _append(results: Path, line: str) -> None:
    """Add a line, also after one that was cut off."""
    with results.open("a+b") as file:
        torn = file.tell() > 0 and results.read_bytes()[-1:] != b"\n"
        file.write((b"\n" if torn else b"") + line.encode() + b"\n")


def _try(fault: AnyFault, lab: Lab, results: Path, number: int) -> dict[str, Any]:
    """One try as a line of the results."""
    began, before = time.time(), {run.id for run in run_directory.directories()}
    found: dict[str, Any] = {"survived": False, "lost": 0, "named": None, "again": None}
    try:
        finding = fault.provoke(lab)
        found = {"survived": finding.survived, "lost": finding.lost, "named": finding.named, "again": finding.again}
        found["said"] = finding.said
    except Exception as error:  # noqa: BLE001 - a try that breaks off has failed, and the others go on
        found["said"] = f"{type(error).__name__}: {error}"[:1000]
        lab.close()
    if not found["survived"] or found["lost"]:
        fresh = [run for run in run_directory.directories() if run.id not in before]
        _keep(fresh, results.parent / "failed" / f"{fault.name}-{number}")
    return {**found, "load": os.getloadavg()[0], "began": began, "seconds": time.time() - began}


def _keep(runs: Iterable[RunDir], folder: Path) -> None:
    for run in runs:
        target = folder / run.id
        target.mkdir(parents=True, exist_ok=True)
        for name in _KEPT:
            if (run.directory / name).exists():
                shutil.copy(run.directory / name, target / name)


def _say(text: str, quiet: bool) -> None:
    print(text, file=sys.stderr if quiet else sys.stdout, flush=True)
