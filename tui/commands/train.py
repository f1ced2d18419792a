"""``gputrain-tui train``: plan, start, watch."""

from __future__ import annotations

import argparse
import sys

import msgspec

from gputrain.engine import launch, units
from gputrain.engine.errors import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_FINISHED
from gputrain.engine.machine import inspect_machine
from gputrain.engine.plan import Plan
from gputrain.engine.text import plain
from gputrain.tui.commands.begin import begin
from gputrain.tui.commands.calibrate import measure
from gputrain.tui.commands.table import print_table
from gputrain.tui.planning import plan_of


def run(options: argparse.Namespace) -> int:
    """Returns the exit code of the run's outcome; of a dry run, whether the plan could start."""
    machine = inspect_machine()
    plan = plan_of(options, machine)
    if options.calibrate and not plan.stands(force=options.force):
        try:
            measure(plan, machine)
        except RuntimeError as error:
            print(f"gputrain-tui: {plain(str(error), 600)}", file=sys.stderr)
            return EXIT_FAILED
        plan = plan_of(options, machine)
    if options.dry_run:
        _show(plan, options.json)
        return EXIT_BAD_INPUT if plan.stands(force=options.force) else EXIT_FINISHED
    warnings = (*plan.adjustments, *plan.warnings, *plan.overruled(force=options.force))
    return begin(lambda: launch.launch(plan.config, plan.origins, warnings, plan.forecast), warnings, options)


def _show(plan: Plan, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(plan).decode())
        return
    rows = [(row.setting, row.value, row.origin, row.note) for row in plan.rows if row.origin != "default" or row.note]
    print_table(("setting", "value", "from", ""), rows)
    print()
    for name, text in plan.facts:
        print(f"{name:<21} {text}")
    for title, budget in (("RAM by part", plan.ram), ("VRAM by part", plan.vram)):
        if budget is not None:
            print()
            parts = [(part.name, units.size(part.bytes), part.note) for part in budget.parts]
            print_table((title, "takes", ""), parts)
    print()
    print_table(("GPUs", "images per update", "workers", "RAM buffer", "as float32", "learning rate"), _scaling(plan))
    print("a run trains on one GPU: the rows of more are what the same settings would add up to")
    for kind, texts in (("adjusted", plan.adjustments), ("warning", plan.warnings), ("refused", plan.refuses)):
        for text in texts:
            print(f"{kind}: {text}")


def _scaling(plan: Plan) -> list[tuple[str, ...]]:
    """The same settings per GPU on several GPUs."""
    return [
        (
            str(row.gpus),
            str(row.total_batch),
            str(row.total_workers),
            units.size(row.buffer),
            units.size(row.buffer_float32),
            f"{row.scaled_lr:g}",
        )
        for row in plan.scaling
    ]
