"""All checks that need a GPU, one after the other: ``python tests/benchmarks/on_gpu.py FOLDER``.

The tests that are marked gpu, the benchmarks of step, whole path and diagnosis, and the program itself: check, plan,
calibration, a training that is recorded, its diagnosis, predictions, ladder. FOLDER has what each of them printed,
the training's record (``gputrain-tui tail FOLDER/runs/NAME``), and a summary of exit codes and seconds.

    python tests/benchmarks/on_gpu.py FOLDER              about fifteen minutes
    python tests/benchmarks/on_gpu.py FOLDER --small      whether all of it works: small, some at the same time
    python tests/benchmarks/on_gpu.py FOLDER --only step  one thing
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import photos

_HERE = Path(__file__).parent
_TOO_LONG = 124
"""Exit code of a check that was ended, as ``timeout`` has it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One check."""

    name: str
    command: tuple[str, ...]
    limit: float
    """Seconds after which it is ended."""


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a check."""

    name: str
    exit_code: int
    seconds: float


def _python(*command: object) -> tuple[str, ...]:
    return (sys.executable, *map(str, command))


def _program(*command: object) -> tuple[str, ...]:
    return _python("-m", "gputrain.tui.cli", *command)


def chains(home: Path, *, small: bool) -> list[list[Step]]:
    """What is run; within a chain each needs, or must not be beside, what comes before it."""
    few = ["--rounds", 1] if small else ["--rounds", 3]
    steps = [*few, "--lives", 1, *(["--steps", 5] if small else [])]
    images = ["--images", 256 if small else 1000, "--folder", home / "photos-end-to-end", *few]
    traces = ["--runs", 1, "--folder", home / "photos-diagnosis", *(["--window", 1, "--quiet", 0] if small else [])]
    tests = Step("tests", _python("-m", "pytest", "-q", "-m", "gpu", "-rfE", _HERE.parent / "engine"), 600)
    benchmarks = [
        Step("step_compiled", _python(_HERE / "step.py", "--json", "--compile", *steps), 400),
        Step("step", _python(_HERE / "step.py", "--json", *steps), 300),
        Step("end_to_end", _python(_HERE / "end_to_end.py", "--json", *images), 300),
    ]
    diagnosis = Step("diagnosis", _python(_HERE / "diagnosis.py", "--gpu", "--json", *traces), 600)
    return [[tests], benchmarks, _program_steps(home, small=small), [diagnosis]]


def _program_steps(home: Path, *, small: bool) -> list[Step]:
    data = ["--recipe", "resnet50-imagefolder", "--data", home / "photos", "warmup_epochs=1"]
    sizes = ["batch_size=64"] if small else []
    run = [*data, *sizes, "cache=ram", f"epochs={2 if small else 6}", "name=on-gpu"]
    bench = ["--rounds", 1, "--steps", 5] if small else ["--ladder", "--rounds", 1]
    return [
        Step("check", _program("check", "--json"), 60),
        Step("plan", _program("train", *data, *sizes, "--dry-run"), 60),
        Step("calibrate", _program("calibrate", *data, *sizes, "--json", "--seconds", 15 if small else 40), 200),
        Step("train", _program("train", *run, "--json"), 400),
        Step("diagnose", _program("diagnose", "last", "--why"), 60),
        Step("predict", _program("predict", "last", "--compare"), 120),
        Step("export", _program("export", "last", "--view", "120x35", home / "dashboard.svg"), 60),
        Step("bench", _program("bench", *data, *sizes, *bench, "--markdown", home / "ladder.md"), 600),
    ]


def _draw(home: Path, *, small: bool) -> None:
    """The folder that the program trains on: some of its images are for validation too, since it has to have some."""
    folder, times = home / "photos", 1 if small else 8
    drawn = photos.draw(home / "photos-drawn", 256 if small else 1000)
    photos.linked(drawn, times).rename(folder)
    for kind in (folder / "train").iterdir():
        (folder / "val" / kind.name).mkdir(parents=True)
        for file in sorted(kind.iterdir())[:5]:
            os.link(file, folder / "val" / kind.name / file.name)


def _run(step: Step, output: Path) -> Done:
    began = time.monotonic()
    with (output / f"{step.name}.out").open("wb") as out, (output / f"{step.name}.err").open("wb") as err:
        process = subprocess.Popen(step.command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, process_group=0)
        try:
            code = process.wait(step.limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            code = _TOO_LONG
    done = Done(step.name, code, round(time.monotonic() - began, 1))
    print(f"{done.name}: exit code {done.exit_code}, {done.seconds:g} s", file=sys.stderr, flush=True)
    return done


def run_all(plan: Sequence[Sequence[Step]], output: Path, *, together: bool) -> list[Done]:
    """Run all checks of `plan`, its chains in parallel (`together`) or one after the other."""

    def chain(steps: Sequence[Step]) -> list[Done]:
        return [_run(step, output) for step in steps]

    with ThreadPoolExecutor(len(plan) if together else 1) as pool:
        return [done for chain_done in pool.map(chain, plan) for done in chain_done]


def _chosen(plan: list[list[Step]], only: Sequence[str]) -> Iterator[list[Step]]:
    for chain in plan:
        if steps := [step for step in chain if not only or step.name in only]:
            yield steps


def main() -> None:
    """Run the selected checks; exits with 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where everything is written")
    parser.add_argument("--small", action="store_true")
    names = [step.name for chain in chains(Path(), small=False) for step in chain]
    parser.add_argument("--only", nargs="+", default=[], choices=names, metavar="NAME", help=", ".join(names))
    options = parser.parse_args()
    output: Path = options.folder.resolve()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as temporary:
        home = Path(temporary)
        os.environ |= {f"GPUTRAIN_{kind}": str(home / kind.lower()) for kind in ("HOME", "CACHE", "CONFIG")}
        plan = list(_chosen(chains(home, small=options.small), options.only))
        if any(step.name in ("plan", "calibrate", "train", "bench") for chain in plan for step in chain):
            _draw(home, small=options.small)
        done = run_all(plan, output, together=options.small)
        _keep(home, output)
    (output / "summary.json").write_text(json.dumps([asdict(one) for one in done], indent=2))
    sys.exit(any(one.exit_code for one in done))


def _keep(home: Path, output: Path) -> None:
    """The records of runs, without their checkpoints, and what else was written."""
    for file in (home / "dashboard.svg", home / "ladder.md"):
        if file.exists():
            shutil.copy(file, output)
    runs = home / "home" / "runs"
    if runs.is_dir():
        shutil.copytree(runs, output / "runs", ignore=shutil.ignore_patterns("*.pt", "*.sock"), dirs_exist_ok=True)


if __name__ == "__main__":
    main()
