"""``gputrain-tui resume RUN``: go on where a run stopped, and watch it."""

from __future__ import annotations

import argparse
import sys

from gputrain.engine.common.errors import EXIT_FAILED, EXIT_FINISHED
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import settings
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.engine.launching import launch, resume_run
from gputrain.engine.runs import run_directory
from gputrain.tui.commands.output import has_screen
from gputrain.tui.commands.runs.watch import watch


def run(options: argparse.Namespace) -> int:
    """Returns the exit code of the run's outcome."""
    target = run_directory.find(options.run)
    overrides, notes = settings.parse_overrides(options.overrides)
    plan = resume_run.plan_from_run(target, overrides, inspect_machine(), notes)
    try:
        goes_on, told = resume_run.resume(target, plan, options.wanted, force=options.force)
    except RuntimeError as error:
        print(f"gputrain-tui: {plain(str(error), 1000)}", file=sys.stderr)
        return EXIT_FAILED
    if not options.json:
        for text in (*told, *plan.adjustments, *plan.warnings, *plan.refuses):
            print(f"resume: {plain(text)}", file=sys.stderr)
    if goes_on != target:
        print(f"resume: {target.id} stays as it is; {goes_on.id} goes on from its {options.wanted}", file=sys.stderr)
    if options.detach:
        print(goes_on.id)
        return EXIT_FINISHED
    return watch(launch.attach(goes_on, outlined=has_screen(options)), options, owner=True)
