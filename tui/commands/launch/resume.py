"""``gputrain-tui resume RUN``: continues a stopped run, and watches it."""

from __future__ import annotations

import argparse
import sys

from gputrain.engine.common.errors import EXIT_FINISHED, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import settings
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.engine.launching import launch, launch_script, resume_run
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.user_script.script_command import has_command, is_input_given
from gputrain.tui.commands.command_messages import fail, has_screen
from gputrain.tui.commands.launch.start_run import require_single_task
from gputrain.tui.commands.runs.watch import watch
from gputrain.tui.commands.runs.watch_signals import StopSignals


def run(options: argparse.Namespace) -> int:
    """Returns the exit code for the outcome of the run."""
    require_single_task()
    target = run_directory.find(options.run)
    if has_command(target):
        return _script(target, options)
    overrides, notes = settings.parse_overrides(options.overrides)
    plan = resume_run.plan_from_run(target, overrides, inspect_machine(), notes)
    if options.if_needed and resume_run.is_complete(target, plan, options.wanted):
        print(f"resume: {target.id} is finished: there is nothing to resume", file=sys.stderr)
        return EXIT_FINISHED
    with StopSignals(owner=True) as signals:
        try:
            resumed, warnings = resume_run.resume(target, plan, options.wanted, force=options.force)
        except RuntimeError as error:
            return fail(error)
        if not options.json:
            for text in (*warnings, *plan.adjustments, *plan.warnings, *plan.refuses):
                print(f"resume: {plain(text)}", file=sys.stderr)
        if resumed != target:
            print(
                f"resume: {resumed.id} starts from checkpoint {options.wanted} of {target.id}, which stays unchanged",
                file=sys.stderr,
            )
        if options.detach:
            print(resumed.id)
            return EXIT_FINISHED
        code = watch(launch.attach(resumed, outlined=has_screen(options)), options, signals)
        launch.wait_for_exit(resumed)
    return code


def _script(target: RunDir, options: argparse.Namespace) -> int:
    """Start a script of the user's own once more; whether it goes on from a checkpoint is its own business."""
    if options.overrides:
        raise BadInput(f"{target.id} is a script of your own: it has no settings to change; start it by exec")
    with StopSignals(owner=True, script=True) as signals:
        try:
            launch_script.start_again(target, given=is_input_given())
        except RuntimeError as error:
            return fail(error)
        if options.detach:
            print(target.id)
            return EXIT_FINISHED
        code = watch(launch.attach(target, outlined=has_screen(options)), options, signals)
        launch.wait_for_exit(target)
    return code
