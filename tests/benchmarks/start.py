"""Seconds from the command to the first training step: ``python tests/benchmarks/start.py [--json]``.

``gputrain-tui train`` against `bare_start.py`: the same model, images, environment and number of workers, in turns,
with the files in the page cache. One start of each goes before the first that counts: it draws the images, if they are
missing, and compiles Python's files.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import harness

HERE = Path(__file__).parent
PACKAGES = ("gputrain-tui", "torch", "torchvision")
MODELS = ("simple_cnn", "resnet18")
DEMO = "simple_cnn"
"""The model of the recipe demo."""
PHASES = {"run_started": "supervisor_s", "data_ready": "data_s", "model_ready": "model_s"}
"""What the record tells on the way to the first step, in seconds since the command."""


@dataclass(slots=True)
class Start:
    """One start, in seconds."""

    wall: float
    """From the command to the line that reports the first step."""
    cpu: float
    """Of all its processes, from their start to their end."""
    phases: dict[str, float] = field(default_factory=dict)


def ours(model: str, workers: int) -> Start:
    """``gputrain-tui train`` of one step. Raises RuntimeError if it makes none."""
    run = [
        "train",
        "--recipe",
        "demo",
        f"model={model}",
        f"num_workers={workers}",
        "max_steps=1",
        "val_split=",
        "--json",
    ]
    return _timed([sys.executable, "-m", "gputrain.tui.cli", *run], _steps)


def bare(model: str, workers: int, folder: Path) -> Start:
    """The bare script. Raises RuntimeError if it makes no step."""
    return _timed([sys.executable, str(HERE / "bare_start.py"), str(folder), model, str(workers)], _printed)


def _steps(line: str, since: float, phases: dict[str, float]) -> bool:
    event = json.loads(line)
    if (name := PHASES.get(event["type"])) is not None:
        phases[name] = event["wall"] - since
    return bool(event["type"] == "steps")


def _printed(line: str, _since: float, _phases: dict[str, float]) -> bool:
    return line.startswith("step 1")


def _timed(command: Sequence[str], is_first_step: Any) -> Start:
    began, since, wall = time.perf_counter(), time.time(), None
    phases: dict[str, float] = {}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if wall is None and is_first_step(line, since, phases):
            wall = time.perf_counter() - began
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if wall is None:
        raise RuntimeError(f"{' '.join(command)} made no step: {errors[-2000:]}")
    return Start(wall, usage.ru_utime + usage.ru_stime, phases)


def compare(model: str, workers: int, rounds: int, folder: Path) -> tuple[list[Start], list[Start]]:
    """Starts of ours and of the bare script, in turns."""
    bare(model, workers, folder)
    ours(model, workers)
    first, second = [], []
    for _ in range(rounds):
        first.append(ours(model, workers))
        second.append(bare(model, workers, folder))
    return first, second


def figures_of(model: str, first: Sequence[Start], second: Sequence[Start]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures and ratios of one model: medians, and the medians of the ratios of each pair."""
    name = "demo" if model == DEMO else model
    ending = "" if model == DEMO else f"_{model}"
    phases = {key: statistics.median(one.phases[key] for one in first) for key in PHASES.values()}
    figures = {
        f"{name}_first_step_s": statistics.median(one.wall for one in first),
        f"bare_script{ending}_first_step_s": statistics.median(one.wall for one in second),
        f"{name}_phases": phases,
    }
    pairs = list(zip(first, second, strict=True))
    ratios = {
        f"first_step_vs_bare_script{ending}": statistics.median(one.wall / other.wall for one, other in pairs),
        f"cpu_vs_bare_script{ending}": statistics.median(one.cpu / other.cpu for one, other in pairs),
    }
    return figures, ratios


@contextlib.contextmanager
def _own_folders(cache: Path | None) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as name:
        for kind in ("HOME", "CACHE", "CONFIG"):
            os.environ[f"GPUTRAIN_{kind}"] = str(Path(name) / kind.lower())
        if cache is not None:
            os.environ["GPUTRAIN_CACHE"] = str(cache)
        yield


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of starts of each model")
    parser.add_argument("--workers", type=int, default=2, help="num_workers of both")
    parser.add_argument(
        "--models", nargs="+", default=list(MODELS), metavar="MODEL", help="simple_cnn, or torchvision's"
    )
    parser.add_argument("--cache", type=Path, help="where the demo's images are drawn, and found the next time")
    options = parser.parse_args()
    harness.keep_compiled_sources()
    figures: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    with _own_folders(options.cache.resolve() if options.cache else None):
        from gputrain.engine.datasets.demo.demo_dataset import ensure_demo

        began, drawn = time.perf_counter(), 0

        def progress(done: int, total: int) -> None:
            nonlocal drawn
            drawn = done

        folder = ensure_demo(progress)
        figures["demo_images_s"] = time.perf_counter() - began if drawn else None
        for model in options.models:
            found = figures_of(model, *compare(model, options.workers, options.rounds, folder))
            figures |= found[0]
            ratios |= found[1]
    if options.json:
        print(harness.report(figures, ratios, {"versions": harness.versions(PACKAGES), "cores": os.cpu_count()}))
    else:
        for key, value in {**figures, **ratios}.items():
            print(f"{key:40} {round(value, 3) if isinstance(value, float) else value}")


if __name__ == "__main__":
    main()
