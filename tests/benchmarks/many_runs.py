"""Listing many runs: ``python tests/benchmarks/many_runs.py [--runs 1000] [--json]``.

Creates that many directories of finished runs with marks, and measures medians of five: `listed_ms` for all values of a
list, `command_ms` for the whole command ``gputrain-tui runs``, `again_ms` for a refresh without changes, as the runs
screen does every two seconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import harness

from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunDir, State, Status
from gputrain.engine.runs.run_labels import write_marks
from gputrain.tui.actions.run_list_refresh import RunListing

PACKAGES = ("gputrain-tui", "msgspec", "psutil")
ROUNDS = 5


def make(count: int) -> None:
    """Directories of finished runs; every tenth has a name, a tag and a note."""
    for number in range(count):
        run = RunDir(run_directory.runs_home() / f"20261128-{number:06}-resnet50")
        run.checkpoints.mkdir(parents=True)
        run.lock.touch()
        ended = 1.79e9 + number
        status = Status(
            state=State.FINISHED,
            started=ended - 60,
            heartbeat=ended,
            ended=ended,
            pid=1,
            pid_started=0,
            boot_id="",
            recipe="resnet50",
            step=number,
            metric="accuracy",
            best=0.5,
        )
        run.write_status(status)
        if number % 10 == 0:
            write_marks(run, name=f"run {number}", add=["keep"], note="a note")


def median_ms(work: Callable[[], object]) -> float:
    """Median of the rounds."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000, metavar="N", help="how many; default: 1000")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="many-runs-") as folder:
        os.environ["GPUTRAIN_HOME"] = str(Path(folder))
        make(options.runs)
        listing = RunListing()
        command = [sys.executable, "-m", "gputrain.tui.cli", "runs", "--json"]
        shown = subprocess.run(command, check=True, capture_output=True).stdout.splitlines()
        figures = {
            "runs": len(shown),
            "listed_ms": median_ms(lambda: RunListing().rows()),
            "command_ms": median_ms(lambda: subprocess.run(command, check=True, capture_output=True)),
            "again_ms": median_ms(listing.rows),
        }
    if options.json:
        print(harness.report(figures, {}, {"versions": harness.versions(PACKAGES)}))
    else:
        print("\n".join(f"{name:<12} {value:.1f}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
