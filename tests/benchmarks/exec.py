"""What ``gputrain-tui exec`` costs the script that it watches: a step, a sample in a worker, the start, memory.

Hooks are put on and off in one process, block by block, and the median of the differences is taken: whole runs differ
by more than the hooks cost. The clock is the CPU time of the thread that trains, which other programs change little;
``--wall`` takes the wall clock. ``--traceml PYTHON``: an interpreter that has torch and traceml-ai, for comparison.

    python tests/benchmarks/exec.py --json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import harness

from gputrain.engine import probe
from gputrain.engine.probe import layout

_SCRIPT = Path(__file__).with_name("exec_steps.py")
_TRACEML_PORT = "29517"


def _environment(pages: Path) -> dict[str, str]:
    inject = str(Path(probe.__file__).with_name("inject"))
    path = os.pathsep.join(filter(None, (inject, os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": path, "GPUTRAIN_EXEC_PAGES": str(pages)}


def _difference(output: str, wall: bool) -> tuple[float, float]:
    """Median microseconds of a step without hooks, and median of what they add."""
    line = next(line for line in output.splitlines() if line.startswith("PAIRS"))
    pairs = json.loads(line.removeprefix("PAIRS"))
    off, on = (1, 3) if wall else (0, 2)
    return statistics.median(pair[off] for pair in pairs), statistics.median(pair[on] - pair[off] for pair in pairs)


def _ours(kind: str, milliseconds: float, pairs: int, wall: bool) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as pages:
        command = [sys.executable, str(_SCRIPT), kind, str(milliseconds), str(pairs)]
        done = subprocess.run(command, env=_environment(Path(pages)), capture_output=True, text=True, check=True)
    return _difference(done.stdout, wall)


def _traceml(python: str, pairs: int, wall: bool) -> tuple[float | None, str]:
    """What traceml's ``trace_step`` adds to a step of 1 ms, or None and why not."""
    if not python:
        return None, "no interpreter with traceml-ai was given (--traceml)"
    tool = Path(python).with_name("traceml")
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as folder:
        command = [str(tool), "run", str(_SCRIPT), "--no-save-training-output", "--master-port", _TRACEML_PORT]
        command += ["--args", "traceml", "1", str(pairs)]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)
            return _difference(done.stdout, wall)[1], ""
        except (OSError, subprocess.SubprocessError, StopIteration) as error:
            return None, f"traceml did not run: {error!r}"[:300]


def _start(rounds: int) -> tuple[float, float]:
    """CPU milliseconds and MiB that an interpreter needs more at its start."""
    spent: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as pages:
        for number in range(2 * rounds):
            on = bool(number % 2)
            environment = _environment(Path(pages)) if on else dict(os.environ)
            pid = os.posix_spawn(sys.executable, [sys.executable, "-c", "pass"], environment)
            usage = os.wait4(pid, 0)[2]
            spent[on].append((1000 * (usage.ru_utime + usage.ru_stime), usage.ru_maxrss / 1024))
    medians = {on: [statistics.median(one[at] for one in found) for at in (0, 1)] for on, found in spent.items()}
    more = [medians[True][at] - medians[False][at] for at in (0, 1)]
    return more[0], more[1] + layout.PAGE_BYTES / 2**20


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--wall", action="store_true", help="the wall clock instead of the thread's CPU time")
    parser.add_argument("--pairs", type=int, default=200, help="pairs of blocks with and without hooks")
    parser.add_argument("--traceml", default="", metavar="PYTHON", help="an interpreter that has traceml-ai")
    options = parser.parse_args()
    short, added_short = _ours("loop", 1, options.pairs, options.wall)
    long, added_long = _ours("loop", 10, max(10, options.pairs // 4), options.wall)
    _, fetch = _ours("fetch", 1, options.pairs, options.wall)
    theirs, reason = _traceml(options.traceml, options.pairs, options.wall)
    started, memory = _start(max(5, options.pairs // 10))
    figures: dict[str, Any] = {
        "step_us_1ms": short,
        "step_overhead_us_1ms": added_short,
        "step_us_10ms": long,
        "step_overhead_us_10ms": added_long,
        "batch_overhead_us_worker": fetch,
        "sample_overhead_us_worker": fetch / 64,
        "traceml_overhead_us_1ms": theirs,
        "startup_ms": started,
        "memory_mib": memory,
    }
    ratios = {"overhead_vs_traceml": added_short / theirs if theirs else None}
    if options.json:
        extra = {"reasons": {"overhead_vs_traceml": reason} if reason else {}, "versions": harness.versions(("torch",))}
        print(harness.report(figures, ratios, extra))
        return
    for name, value in {**figures, **ratios}.items():
        print(f"{name:28} {value:.2f}" if value is not None else f"{name:28} none ({reason})")


if __name__ == "__main__":
    main()
