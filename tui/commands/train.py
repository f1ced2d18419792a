"""``gputrain-tui train``: plan, start, watch."""

from __future__ import annotations

import argparse
import sys

import msgspec

from gputrain.engine import launch
from gputrain.engine.errors import EXIT_FAILED, EXIT_FINISHED, BadInput
from gputrain.engine.machine import inspect_machine
from gputrain.engine.plan import Plan
from gputrain.tui.commands.table import print_table
from gputrain.tui.commands.watch import watch
from gputrain.tui.planning import plan_of


def run(options: argparse.Namespace) -> int:
    """Returns the exit code of the run's outcome."""
    plan = plan_of(options, inspect_machine())
    if options.dry_run:
        return _show(plan, options.json)
    if plan.refuses:
        raise BadInput("; ".join(plan.refuses))
    if not options.json:
        for warning in (*plan.adjustments, *plan.warnings):
            print(f"plan: {warning}", file=sys.stderr)
    try:
        started = launch.launch(plan.config, plan.origins, (*plan.adjustments, *plan.warnings), plan.forecast)
    except RuntimeError as error:
        print(f"gputrain-tui: {error}", file=sys.stderr)
        return EXIT_FAILED
    if options.detach:
        print(started.id)
        return EXIT_FINISHED
    return watch(launch.attach(started), options, owner=True)


def _show(plan: Plan, as_json: bool) -> int:
    if as_json:
        print(msgspec.json.encode(plan).decode())
        return EXIT_FINISHED
    rows = [(row.setting, row.value, row.origin, row.note) for row in plan.rows if row.origin != "default" or row.note]
    print_table(("setting", "value", "from", ""), rows)
    print()
    for name, text in plan.facts:
        print(f"{name:<16} {text}")
    for kind, texts in (("adjusted", plan.adjustments), ("warning", plan.warnings), ("refused", plan.refuses)):
        for text in texts:
            print(f"{kind}: {text}")
    return EXIT_FINISHED
