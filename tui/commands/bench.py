"""``gputrain-tui bench``: standard against optimized, as a table with bars, JSON and Markdown."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from gputrain.engine import settings
from gputrain.engine.adjust import pick_gpu
from gputrain.engine.benching import measure_speed
from gputrain.engine.config import RunConfig
from gputrain.engine.errors import EXIT_FAILED, EXIT_FINISHED, BadInput
from gputrain.engine.files import write_atomic
from gputrain.engine.ladder import Rung, ladder
from gputrain.engine.machine import Machine, inspect_machine
from gputrain.engine.plan import Plan
from gputrain.engine.settings import shown
from gputrain.engine.text import plain
from gputrain.tui.benchtable import HEADER, Bench, Row, cells, markdown, title
from gputrain.tui.charset import wants_ascii
from gputrain.tui.commands.table import print_table
from gputrain.tui.planning import plan_of

_TF32_FROM = (8, 0)


def run(options: argparse.Namespace) -> int:
    """Returns 0 when every rung that applies was measured, else 1."""
    machine = inspect_machine()
    plan = plan_of(options, machine)
    if plan.refuses:
        raise BadInput("; ".join(plan.refuses))
    rungs = _rungs(plan, machine, every=options.ladder)
    rows = list(_rows(plan.config, rungs, options.steps))
    bench = _bench(plan.config, machine, options.steps, rows)
    if options.markdown:
        _write(Path(options.markdown), markdown(bench))
    if options.json:
        print(msgspec.json.encode(bench).decode())
    else:
        print(title(bench))
        print_table(HEADER, [cells(row, bench.rows, wants_ascii()) for row in bench.rows])
    failed = [row for row, rung in zip(rows, rungs, strict=True) if row.speed is None and not rung.skipped]
    return EXIT_FAILED if failed else EXIT_FINISHED


def _rungs(plan: Plan, machine: Machine, *, every: bool) -> list[Rung]:
    gpu = pick_gpu(machine, plan.config.device)
    tf32 = gpu is not None and (gpu.capability is None or gpu.capability >= _TF32_FROM)
    return ladder(settings.flatten(plan.config), gpu=gpu is not None, tf32=tf32, every=every)


def _rows(config: RunConfig, rungs: list[Rung], steps: int) -> Iterator[Row]:
    before: dict[str, str] = {}
    for rung in rungs:
        wanted = settings.replace(config, **rung.changes)
        values = {name: shown(value) for name, value in settings.flatten(wanted).items()}
        changes = {name: value for name, value in values.items() if before and before[name] != value}
        if rung.skipped:
            _tell(f"{rung.name}: left out ({rung.skipped})")
            yield Row(name=rung.name, settings=changes, speed=None, error=f"left out: {rung.skipped}")
            continue
        before = values
        yield _row(rung, wanted, changes, steps)


def _row(rung: Rung, config: RunConfig, changes: dict[str, str], steps: int) -> Row:
    try:
        speed = measure_speed(config, lambda text: _tell(f"{rung.name}: {text}"), steps)
    except RuntimeError as error:
        _tell(f"{rung.name}: {error}")
        return Row(name=rung.name, settings=changes, speed=None, error=plain(str(error), 300))
    _tell(f"{rung.name}: {speed.images_per_second:.1f} img/s")
    return Row(name=rung.name, settings=changes, speed=speed)


def _bench(config: RunConfig, machine: Machine, steps: int, rows: list[Row]) -> Bench:
    gpu = pick_gpu(machine, config.device)
    return Bench(
        recipe=config.recipe or "settings of a file",
        machine=f"{machine.cpu_model}, {machine.usable_cores:g} cores" + (f", {gpu.name}" if gpu else ""),
        device=gpu.name if gpu else machine.cpu_model,
        batch_size=config.data.batch_size,
        image_size=config.data.image_size,
        steps=steps,
        rows=tuple(rows),
    )


def _write(path: Path, text: str) -> None:
    try:
        write_atomic(path, text.encode(), mode=0o644)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from None


def _tell(text: str) -> None:
    print(f"bench: {plain(text, 300)}", file=sys.stderr, flush=True)
