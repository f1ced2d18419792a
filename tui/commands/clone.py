"""``gputrain-tui clone RUN setting=value …``: a new run with another one's settings, some of them changed."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from gputrain.engine import launch, resuming, runs, settings
from gputrain.engine.errors import EXIT_FAILED, EXIT_FINISHED
from gputrain.engine.machine import inspect_machine
from gputrain.tui.commands.watch import watch


def run(options: argparse.Namespace) -> int:
    """Returns the exit code of the new run's outcome."""
    source = runs.find(options.run)
    overrides: dict[str, Any] = dict(settings.parse_override(argument) for argument in options.overrides)
    # From the beginning: to go on from a checkpoint there is resume.
    plan = resuming.plan_again(source, {"resume_from": "", **overrides}, inspect_machine())
    if not options.json:
        for warning in (*plan.adjustments, *plan.warnings):
            print(f"plan: {warning}", file=sys.stderr)
    try:
        started = resuming.begin(plan)
    except RuntimeError as error:
        print(f"gputrain-tui: {error}", file=sys.stderr)
        return EXIT_FAILED
    if options.detach:
        print(started.id)
        return EXIT_FINISHED
    return watch(launch.attach(started), options, owner=True)
