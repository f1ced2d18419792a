"""``gputrain-tui train``: plans a run, starts it and watches it."""

from __future__ import annotations

import argparse

import msgspec

from gputrain.engine.common import units
from gputrain.engine.common.errors import EXIT_BAD_INPUT, EXIT_FINISHED, BadInput
from gputrain.engine.hardware.machine import Machine, inspect_machine
from gputrain.engine.launching import resume_run
from gputrain.engine.planning.plan import Plan
from gputrain.tui.actions.plan_from_arguments import plan_for_other_machine, plan_of
from gputrain.tui.commands.command_messages import fail
from gputrain.tui.commands.launch.calibrate import measure
from gputrain.tui.commands.launch.start_run import require_single_task, start_run
from gputrain.tui.render.plan_tables import BUFFERS, SCALING, SPEEDS, buffer_cells, scaling_cells, speed_cells
from gputrain.tui.render.text_table import print_table


def run(options: argparse.Namespace) -> int:
    """Returns the exit code for the outcome of the run; with ``--dry-run`` 0 if it would start (with ``--force`` where
    that is given), else 2."""
    machine = inspect_machine()
    if options.machine:
        return _plan_other_machine(options, machine)
    if not options.dry_run:
        require_single_task()
    plan = plan_of(options, machine)
    if options.calibrate and not plan.stands(force=options.force):
        try:
            measure(plan, machine)
        except RuntimeError as error:
            return fail(error)
        plan = plan_of(options, machine)
    if options.dry_run:
        _print_plan(plan, options)
        return EXIT_BAD_INPUT if plan.stands(force=options.force) else EXIT_FINISHED
    warnings = (*plan.adjustments, *plan.warnings, *plan.overruled(force=options.force))
    return start_run(lambda: resume_run.begin(plan, force=options.force), warnings, options)


def _plan_other_machine(options: argparse.Namespace, here: Machine) -> int:
    """Print the plan for another machine."""
    if not options.dry_run or options.calibrate:
        raise BadInput("--machine plans for another machine: it needs --dry-run and excludes --calibrate")
    plan = plan_for_other_machine(options, here)
    _print_plan(plan, options)
    return EXIT_BAD_INPUT if plan.stands(force=options.force) else EXIT_FINISHED


def _print_plan(plan: Plan, options: argparse.Namespace) -> None:
    if options.json:
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
    print_table(SCALING, scaling_cells(plan.scaling))
    print("rows with more GPUs: the same settings with devices=2, 4 and 8")
    print("4×1: on 4 machines with one GPU each; the RAM buffer is that of one machine")
    if plan.speeds:
        print()
        print_table(SPEEDS, speed_cells(plan.speeds))
        for text in plan.speed_basis:
            print(text)
    print()
    print_table(BUFFERS, buffer_cells(plan.buffers))
    stays = plan.stands(force=options.force)
    overruled = [text for text in plan.refuses if text not in stays]
    kinds = {"adjusted": plan.adjustments, "warning": plan.warnings, "overruled": overruled, "refused": stays}
    for kind, texts in kinds.items():
        for text in texts:
            print(f"{kind}: {text}{' (--force starts anyway)' if kind == 'overruled' else ''}")
