"""``gputrain-tui train``: plans a run, starts it and watches it."""

from __future__ import annotations

import argparse

from gputrain.engine.common.errors import EXIT_BAD_INPUT, EXIT_FINISHED, BadInput
from gputrain.engine.hardware.machine import Machine, inspect_machine
from gputrain.engine.launching import resume_run
from gputrain.tui.actions.plan_from_arguments import plan_for_other_machine, plan_of
from gputrain.tui.commands.command_messages import fail
from gputrain.tui.commands.launch.calibrate import measure
from gputrain.tui.commands.launch.print_plan import print_plan
from gputrain.tui.commands.launch.start_run import require_single_task, start_run


def run(options: argparse.Namespace) -> int:
    """Returns the exit code for the outcome of the run; with ``--dry-run`` 0 if it would start (with ``--force`` where
    that is given), else 2."""
    if options.slurm:
        from gputrain.tui.commands.launch import submit_job  # only where it is asked for

        return submit_job.run(options)
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
        print_plan(plan, options)
        return EXIT_BAD_INPUT if plan.stands(force=options.force) else EXIT_FINISHED
    warnings = (*plan.adjustments, *plan.warnings, *plan.overruled(force=options.force))
    return start_run(lambda: resume_run.begin(plan, force=options.force), warnings, options)


def _plan_other_machine(options: argparse.Namespace, here: Machine) -> int:
    """Print the plan for another machine."""
    if not options.dry_run or options.calibrate:
        raise BadInput("--machine plans for another machine: it needs --dry-run and excludes --calibrate")
    plan = plan_for_other_machine(options, here)
    print_plan(plan, options)
    return EXIT_BAD_INPUT if plan.stands(force=options.force) else EXIT_FINISHED
