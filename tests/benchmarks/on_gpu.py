"""All checks that need a GPU, in stages of at most three minutes: ``python tests/benchmarks/on_gpu.py FOLDER``.

The stages stand in the order of their worth, since a GPU may be at hand for a quarter of an hour only. FOLDER has what
each check printed, and ``results.jsonl``: a line for each check, on disk as soon as it ends. A second call with the
same FOLDER goes on with the checks that did not pass. Images and runs lie beside it, in FOLDER-work.

    python tests/benchmarks/on_gpu.py FOLDER              all stages, as far as twelve minutes reach
    python tests/benchmarks/on_gpu.py FOLDER --minutes 5  less
    python tests/benchmarks/on_gpu.py FOLDER --only step  one stage, or one check; those that passed, too
    python tests/benchmarks/on_gpu.py FOLDER --dry-run    whether all commands work: small, on the CPU
    python tests/benchmarks/on_gpu.py --list              stages, checks and commands

Exits with 0 if all passed, 1 if a check failed or had no time, 2 if there is no GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import photos
from diagnosis_gpu import missing
from gpu_stages import PUBLISHED, STAGE_SECONDS, Sizes, Stage, Step, stages

_TOO_LONG = 124
"""Exit code of a check that was ended, as ``timeout`` has it."""
_PATIENCE = 4.0
"""Of a dry run: its CPU may have two cores, and other things to do."""
_STOP_SECONDS = 10.0
"""A training that takes too long is asked to stop, or it would go on without its command."""
_LEAST_SECONDS = 5.0
"""A check that would have less is not begun."""


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a check."""

    stage: str
    name: str
    exit_code: int
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)


class Results:
    """``results.jsonl`` in the folder: a line for each check that was run, in that order."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "results.jsonl"

    def read(self) -> list[Done]:
        """All results; a line that is cut off is left out."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        return list(_whole(lines))

    def passed(self) -> set[str]:
        """The checks whose last result is good."""
        last = {done.name: done.exit_code for done in self.read()}
        return {name for name, code in last.items() if code == 0}

    def add(self, done: Done) -> None:
        """Write one result to the disk."""
        with self._file.open("a") as file:
            file.write(json.dumps(asdict(done)) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _whole(lines: Sequence[str]) -> Iterator[Done]:
    for line in lines:
        try:
            yield Done(**json.loads(line))
        except (ValueError, TypeError):
            continue


def run_step(stage: str, step: Step, output: Path, limit: float) -> Done:
    """Run one check for `limit` seconds at most; what it prints goes to files named like it in `output`."""
    began = time.monotonic()
    out_file = output / f"{step.name}.out"
    with out_file.open("wb") as out, (output / f"{step.name}.err").open("wb") as err:
        process = subprocess.Popen(step.command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, process_group=0)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            end(process)
            code = _TOO_LONG
    found = figures(step.name, out_file.read_text(errors="replace")) if code == 0 else {}
    done = Done(stage, step.name, code, round(time.monotonic() - began, 1), found)
    print(f"{stage}/{done.name}: exit code {code}, {done.seconds:g} s {found or ''}", file=sys.stderr, flush=True)
    return done


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process group to stop, then kill it."""
    os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def figures(name: str, text: str) -> dict[str, Any]:
    """What a check's output tells: a benchmark's ratios, a ladder's speed-up beside the published one."""
    try:
        told = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(told, dict):
        return {}
    if name in PUBLISHED:
        return _speed_up(name, told["rows"])
    return {key: value for key, value in told.get("ratios", {}).items() if value is not None}


def _speed_up(name: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    speeds = {row["name"]: row["speed"]["images_per_second"] for row in rows if row["speed"]}
    if "standard" not in speeds or len(speeds) < 2:
        return {}
    fastest = max(speeds, key=lambda key: speeds[key])
    times = speeds[fastest] / speeds["standard"]
    found = {"fastest": fastest, "speed_up": round(times, 3)}
    return found | {"vs_published": round(times / PUBLISHED[name], 3)}


def run_all(
    plan: Sequence[Stage], output: Path, minutes: float, *, again: bool = False, patience: float = 1.0
) -> list[str]:
    """Run the checks of `plan` that have not passed (with `again` all) for `minutes`; `patience` times all limits.

    Returns the names of those that have not passed then.
    """
    results, end = Results(output), time.monotonic() + 60 * minutes
    passed = set() if again else results.passed()
    left = []
    for stage in plan:
        stage_end = min(end, time.monotonic() + patience * STAGE_SECONDS)
        for step in stage.steps:
            if step.name in passed:
                continue
            seconds = stage_end - time.monotonic()
            if seconds < _LEAST_SECONDS:
                left.append(step.name)
                continue
            done = run_step(stage.name, step, output, min(patience * step.limit, seconds))
            results.add(done)
            if done.exit_code:
                left.append(step.name)
    return left


def draw(sizes: Sizes) -> None:
    """Draw the folder of photographs, once: some are for validation, too, since a run has to have some."""
    if sizes.photos.exists():
        return
    drawn = photos.draw(sizes.home / "photos-drawn", 64 if sizes.small else 1000)
    folder = photos.linked(drawn, 1 if sizes.small else 8)
    for kind in (folder / "train").iterdir():
        (folder / "val" / kind.name).mkdir(parents=True)
        for file in sorted(kind.iterdir())[:5]:
            os.link(file, folder / "val" / kind.name / file.name)
    folder.rename(sizes.photos)


def chosen(plan: Sequence[Stage], only: Sequence[str]) -> list[Stage]:
    """The stages and checks that `only` names; all without names. Raises ValueError for a name that none has."""
    names = {stage.name for stage in plan} | {step.name for stage in plan for step in stage.steps}
    if unknown := [name for name in only if name not in names]:
        raise ValueError(f"no stage or check is named {unknown[0]}: see --list")
    if not only:
        return list(plan)
    found = []
    for stage in plan:
        steps = tuple(step for step in stage.steps if stage.name in only or step.name in only)
        if steps:
            found.append(replace(stage, steps=steps))
    return found


def listing(plan: Sequence[Stage]) -> str:
    """All stages with their checks, limits and commands."""
    lines = []
    for number, stage in enumerate(plan, 1):
        lines.append(f"{number} {stage.name} (at most {STAGE_SECONDS:g} s): {stage.asks}")
        lines += [f"    {step.name:14} {step.limit:4g} s  {' '.join(step.command[1:])}" for step in stage.steps]
    return "\n".join(lines)


def keep(home: Path, output: Path) -> None:
    """Copy the records of runs, without their checkpoints, and the pictures and tables that were written."""
    for file in (*home.glob("*.svg"), *home.glob("*.md")):
        shutil.copy(file, output)
    runs = home / "home" / "runs"
    if runs.is_dir():
        shutil.copytree(runs, output / "runs", ignore=shutil.ignore_patterns("*.pt", "*.sock"), dirs_exist_ok=True)


def main() -> int:
    """Run the selected checks; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("on-gpu"), help="where everything is written")
    parser.add_argument("--minutes", type=float, default=12.0, help="time for all of it (default 12)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="stages or checks")
    parser.add_argument("--dry-run", action="store_true", help="small, on the CPU")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    output: Path = options.folder.resolve()
    sizes = Sizes(output.with_name(f"{output.name}-work"), options.dry_run)
    try:
        plan = chosen(stages(sizes), options.only)
    except ValueError as error:
        parser.error(str(error))
    if options.list:
        print(listing(plan))
        return 0
    if not options.dry_run and (why := missing()):
        print(f"on_gpu: {why}; --dry-run tries the commands on the CPU", file=sys.stderr)
        return 2
    for folder in (output, sizes.home):
        folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {f"GPUTRAIN_{kind}": str(sizes.home / kind.lower()) for kind in ("HOME", "CACHE", "CONFIG")}
    if any(str(sizes.photos) in step.command for stage in plan for step in stage.steps):
        draw(sizes)
    left = run_all(
        plan, output, options.minutes, again=bool(options.only), patience=_PATIENCE if options.dry_run else 1.0
    )
    keep(sizes.home, output)
    if left:
        print(f"on_gpu: not passed: {', '.join(left)}; the same command goes on with them", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
