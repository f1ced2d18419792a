"""Measures the stages of an ablation one after the other, for the command and the screen."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.configuration.settings import shown
from gputrain.engine.hardware.machine import Machine
from gputrain.engine.jobs.bench_job import Speed, measure_speed, merge_speeds
from gputrain.engine.planning.ablation import Stage, ablation_stages
from gputrain.engine.planning.fallbacks import pick_gpu
from gputrain.engine.planning.plan import Plan
from gputrain.engine.processes.child_job import Started, Tell
from gputrain.profiles import catalog
from gputrain.tui.render.bench_table import Bench, Row

_TF32_FROM = (8, 0)

ROUNDS = 2
"""Default number of rounds; each round measures every stage."""

Measured = Callable[[Bench], object]
"""Called after each measurement with the benchmark so far."""


def stages_for(plan: Plan, machine: Machine, *, every: bool) -> list[Stage]:
    """The stages from default settings to `plan`; without `every` only these two."""
    gpu = pick_gpu(machine, plan.config.device)
    tf32 = gpu is not None and (gpu.capability is None or gpu.capability >= _TF32_FROM)
    return ablation_stages(settings.flatten(plan.config), gpu=gpu is not None, tf32=tf32, every=every)


def measure_stages(
    bench: Bench,
    config: RunConfig,
    stages: Sequence[Stage],
    report: Tell,
    measured: Measured = lambda _bench: None,
    started: Started = lambda _end: None,
) -> Bench:
    """Measure all stages in `bench.rounds` rounds; returns `bench` with the results.

    Every second round runs in reverse order, so that slow changes of the machine favor no stage. A stage that fails has
    its error in its row. Raises BadInput if the data or the settings cannot be used.
    """
    speeds: dict[int, list[Speed]] = {number: [] for number in range(len(stages))}
    for round_number in range(bench.rounds):
        order = range(len(stages)) if round_number % 2 == 0 else reversed(range(len(stages)))
        for number in order:
            stage, row = stages[number], bench.rows[number]
            if row.error:
                continue
            report_stage = _named(stage.name, report)
            try:
                wanted = settings.replace(config, **stage.changes)
                speeds[number].append(measure_speed(wanted, report_stage, bench.steps, started=started))
            except RuntimeError as error:
                report_stage(str(error))
                row = replace(row, error=plain(str(error), 300))
            else:
                report_stage(f"{speeds[number][-1].images_per_second:.1f} img/s")
                rates = tuple(speed.images_per_second for speed in speeds[number])
                row = replace(row, speed=merge_speeds(speeds[number]), rounds=rates)
            bench = replace(bench, rows=(*bench.rows[:number], row, *bench.rows[number + 1 :]))
            measured(bench)
    return bench


def _named(stage: str, report: Tell) -> Tell:
    return lambda text: report(f"{stage}: {text}")


def blank(plan: Plan, machine: Machine, stages: Sequence[Stage], *, steps: int, rounds: int) -> Bench:
    """The benchmark before the first measurement."""
    config, gpu = plan.config, pick_gpu(machine, plan.config.device)
    return Bench(
        recipe=config.recipe or "settings from a file",
        machine=f"{machine.cpu_model}, {machine.usable_cores:g} cores" + (f", {gpu.name}" if gpu else ""),
        device=gpu.name if gpu else machine.cpu_model,
        usable_cores=machine.usable_cores,
        batch_size=config.data.batch_size,
        image_size=config.data.image_size,
        steps=steps,
        rounds=rounds,
        rows=_rows(config, stages),
        references=catalog.reference_ladders(config.profile),
    )


def _rows(config: RunConfig, stages: Sequence[Stage]) -> tuple[Row, ...]:
    """A row for each stage, with the settings that differ from the stage before it."""
    rows, before = list[Row](), dict[str, str]()
    for stage in stages:
        values = _values(config, stage.changes)
        changes = {name: value for name, value in values.items() if before and before[name] != value}
        error = f"skipped: {stage.skipped}" if stage.skipped else ""
        rows.append(Row(name=stage.name, key=stage.key, settings=changes, speed=None, error=error))
        if not stage.skipped:
            before = values
    return tuple(rows)


def _values(config: RunConfig, changes: Mapping[str, object]) -> dict[str, str]:
    return {name: shown(value) for name, value in settings.flatten(settings.replace(config, **changes)).items()}


def check_writable(path: Path) -> None:
    """Raises BadInput if `path` cannot be written. Called before the measurement, which takes minutes."""
    folder = path.parent
    if path.is_dir():
        why = "it is a folder"
    elif not folder.is_dir():
        why = f"there is no folder {folder}"
    elif not os.access(folder, os.W_OK | os.X_OK):
        why = f"the folder {folder} cannot be written to"
    else:
        return
    raise BadInput(plain(f"{path}: cannot be written: {why}", 400))
