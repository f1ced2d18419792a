"""``gputrain-tui clone RUN setting=value …``: starts a new run with the settings of another run."""

from __future__ import annotations

import argparse

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.engine.launching import launch_script, resume_run
from gputrain.engine.runs import run_directory
from gputrain.engine.user_script.script_command import has_command, is_input_given
from gputrain.tui.commands.launch.start_run import require_single_task, start_run


def run(options: argparse.Namespace) -> int:
    """Returns the exit code for the outcome of the new run."""
    require_single_task()
    source = run_directory.find(options.run)
    if has_command(source):
        if options.overrides:
            raise BadInput(f"{source.id} is a script of your own: it has no settings to change; start it by exec")
        return start_run(lambda: launch_script.clone(source, given=is_input_given()), (), options, script=True)
    overrides, notes = settings.parse_overrides(options.overrides)
    # A clone starts from scratch, even if the run itself was resumed from a checkpoint.
    plan = resume_run.plan_from_run(
        source, {"resume_from": "", **overrides}, inspect_machine(), notes, from_scratch=True
    )
    warnings = (*plan.adjustments, *plan.warnings, *plan.overruled(force=options.force))
    return start_run(lambda: resume_run.begin(plan, force=options.force), warnings, options)
