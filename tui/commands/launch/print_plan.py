"""Prints a plan for ``train --dry-run``, as tables or as JSON."""

from __future__ import annotations

import argparse

import msgspec

from gputrain.engine.common import units
from gputrain.engine.planning.plan import Plan
from gputrain.tui.render.plan_tables import BUFFERS, SCALING, SPEEDS, buffer_cells, scaling_cells, speed_cells
from gputrain.tui.render.text_table import print_table


def print_plan(plan: Plan, options: argparse.Namespace) -> None:
    """Print `plan` on stdout."""
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
