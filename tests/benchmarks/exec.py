"""What ``gputrain-tui exec`` costs the script that it watches: a step, a sample in a worker, the start, memory.

Hooks are put on and off in one process, every few steps, and the medians of the steps are compared: whole runs differ
by more than the hooks cost. The clock is the CPU time of the thread that trains, which other programs change little;
``--wall`` takes the wall clock. ``--traceml make`` installs traceml-ai from PyPI into an environment of its own, which
goes when the benchmark is over, and measures it as well; ``--traceml PYTHON``: an interpreter that has torch and it.

    python tests/benchmarks/exec.py --json --traceml make
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import harness

from gputrain.engine import probe
from gputrain.engine.probe import layout

_SCRIPT = Path(__file__).with_name("exec_steps.py")
_STARTED = """
import sys, time
if sys.argv[1:] == ["torch"] and hasattr(sys.meta_path[0], "packages"):
    sys.meta_path[0].find_spec("torch")  # as its import would begin: the whole probe
print(time.process_time(), next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""
_TRACEML_MODES = ("summary", "cli")
"""Its default, and the one with a live view."""
_TRACEML_PORT = "29517"
_TRACEML = "traceml-ai==0.5.0"


def _environment(pages: Path) -> dict[str, str]:
    inject = str(Path(probe.__file__).with_name("inject"))
    path = os.pathsep.join(filter(None, (inject, os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": path, "GPUTRAIN_EXEC_PAGES": str(pages)}


def _difference(output: str, wall: bool) -> tuple[float, float, float]:
    """Median microseconds of a step without hooks, what hooks add to the median, and to the mean of the lower 90 %: one
    step of nine is counted apart, which the median does not show."""
    line = next(line for line in output.splitlines() if line.startswith("STEPS"))
    off, on = (sorted(step[wall] for step in steps) for steps in json.loads(line.removeprefix("STEPS")))
    median, mean = statistics.median, statistics.fmean
    lower = [mean(steps[: max(1, len(steps) * 9 // 10)]) for steps in (off, on)]
    return median(off), median(on) - median(off), lower[1] - lower[0]


def _ours(kind: str, milliseconds: float, turns: int, wall: bool) -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as pages:
        command = [sys.executable, str(_SCRIPT), kind, str(milliseconds), str(turns)]
        done = subprocess.run(command, env=_environment(Path(pages)), capture_output=True, text=True, check=True)
    return _difference(done.stdout, wall)


def _environment_with_traceml(folder: str) -> str:
    """The interpreter of a new environment that has traceml and finds our torch. Raises subprocess.SubprocessError."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True, timeout=120)
    python = str(Path(folder, "bin", "python"))
    paths = [sysconfig.get_path("purelib", vars={"base": base}) for base in (folder, sys.prefix)]
    Path(paths[0], "ours.pth").write_text(paths[1] + "\n")
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", _TRACEML]
    subprocess.run(install, check=True, capture_output=True, timeout=600)
    return python


def _traceml(python: str, turns: int, wall: bool) -> tuple[dict[str, float | None], str]:
    """What traceml's ``trace_step`` adds to a step of 1 ms in its default and its live mode, or None and why not."""
    if not python:
        reason = "not measured: --traceml make installs it, --traceml PYTHON names an interpreter that has it"
        return dict.fromkeys(_TRACEML_MODES), reason
    if python == "make":
        with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as folder:
            try:
                return _traceml(_environment_with_traceml(folder), turns, wall)
            except (OSError, subprocess.SubprocessError) as error:
                said = getattr(error, "stderr", b"") or b""
                reason = f"{_TRACEML} could not be installed: {error!r} {said.decode(errors='replace')[-200:]}"
                return dict.fromkeys(_TRACEML_MODES), reason
    found: dict[str, float | None] = {}
    reasons = []
    for mode in _TRACEML_MODES:
        found[mode], reason = _traceml_in(mode, Path(python).with_name("traceml"), turns, wall)
        reasons += [reason] if reason else []
    return found, "; ".join(reasons)


def _traceml_in(mode: str, tool: Path, turns: int, wall: bool) -> tuple[float | None, str]:
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as folder:
        command = [str(tool), "run", str(_SCRIPT), "--mode", mode, "--save-training-output"]
        command += ["--master-port", _TRACEML_PORT, "--logs-dir", folder, "--args", "traceml", "1", str(turns)]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)
            # The live view of the mode cli draws over the output, which a log keeps.
            logs = [path.read_text(errors="replace") for path in Path(folder).rglob("*.log")]
            printed = "\n".join(
                line[line.find("STEPS ") :]
                for text in (done.stdout, *logs)
                for line in text.splitlines()
                if "STEPS " in line
            )
            return _difference(printed, wall)[1], ""
        except (OSError, subprocess.SubprocessError, StopIteration) as error:
            return None, f"traceml --mode {mode} did not run: {error!r}"[:300]


def _start(rounds: int, *imported: str) -> tuple[float, float]:
    """CPU milliseconds and MiB that an interpreter needs more at its start, and where `imported` is torch, then."""
    spent: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as pages:
        for number in range(2 * rounds):
            on = bool(number % 2)
            environment = _environment(Path(pages)) if on else dict(os.environ)
            done = subprocess.run(
                [sys.executable, "-c", _STARTED, *imported], env=environment, capture_output=True, text=True
            )
            cpu, peak = done.stdout.split()
            spent[on].append((1000 * float(cpu), int(peak) / 1024))
    medians = {on: [statistics.median(one[at] for one in found) for at in (0, 1)] for on, found in spent.items()}
    more = [medians[True][at] - medians[False][at] for at in (0, 1)]
    return more[0], more[1] + layout.PAGE_BYTES / 2**20


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--wall", action="store_true", help="the wall clock instead of the thread's CPU time")
    parser.add_argument("--turns", type=int, default=400, help="turns with hooks, and as many without")
    parser.add_argument(
        "--traceml", default="", metavar="PYTHON", help="measure traceml-ai, too: make, or an interpreter"
    )
    options = parser.parse_args()
    load = os.getloadavg()[0]
    short, added_short, mean_short = _ours("loop", 1, options.turns, options.wall)
    long, added_long, _ = _ours("loop", 10, max(10, options.turns // 4), options.wall)
    _, fetch, _ = _ours("fetch", 1, options.turns, options.wall)
    theirs, reason = _traceml(options.traceml, options.turns, options.wall)
    rounds = max(5, options.turns // 20)
    started, memory = _start(rounds, "torch")
    started_other, _ = _start(rounds)
    figures: dict[str, Any] = {
        "step_us_1ms": short,
        "step_overhead_us_1ms": added_short,
        "step_overhead_us_1ms_mean": mean_short,
        "step_us_10ms": long,
        "step_overhead_us_10ms": added_long,
        "batch_overhead_us_worker": fetch,
        "sample_overhead_us_worker": fetch / 64,
        "traceml_overhead_us_1ms": theirs["summary"],
        "traceml_overhead_us_1ms_live": theirs["cli"],
        "startup_ms": started,
        "startup_ms_without_torch": started_other,
        "memory_mib": memory,
    }
    ratios = {"overhead_vs_traceml": added_short / theirs["summary"] if theirs["summary"] else None}
    if options.json:
        extra: dict[str, Any] = {"load": [load, os.getloadavg()[0]], "clock": "wall" if options.wall else "cpu"}
        extra |= {
            "reasons": {"overhead_vs_traceml": reason} if reason else {},
            "versions": harness.versions(("torch",)),
        }
        print(harness.report(figures, ratios, extra))
        return
    for name, value in {**figures, **ratios}.items():
        print(f"{name:28} {value:.2f}" if value is not None else f"{name:28} none ({reason})")


if __name__ == "__main__":
    main()
