"""``gputrain-tui clone RUN setting=value …``: a new run with another one's settings, some of them changed."""

from __future__ import annotations

import argparse
from typing import Any

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.engine.launching import launch_script, resume_run
from gputrain.engine.runs import run_directory
from gputrain.engine.user_script.script_command import has_command, read_command
from gputrain.tui.commands.launch.start_run import start_run


def run(options: argparse.Namespace) -> int:
    """Returns the exit code of the new run's outcome."""
    source = run_directory.find(options.run)
    if has_command(source):
        if options.overrides:
            raise BadInput(f"{source.id} is a script of your own: it has no settings to change; start it by exec")
        return start_run(lambda: launch_script.launch_script(read_command(source)), (), options)
    overrides: dict[str, Any] = dict(settings.parse_override(argument) for argument in options.overrides)
    # From the beginning: to go on from a checkpoint there is resume.
    plan = resume_run.plan_from_run(source, {"resume_from": "", **overrides}, inspect_machine())
    warnings = (*plan.adjustments, *plan.warnings, *plan.overruled(force=options.force))
    return start_run(lambda: resume_run.begin(plan, force=options.force), warnings, options)
