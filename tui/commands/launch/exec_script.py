"""``gputrain-tui exec -- COMMAND``: a training script of the user's own, watched as a run."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from gputrain.engine.common.errors import BadInput
from gputrain.engine.launching.launch_script import launch_script
from gputrain.engine.user_script.script_command import checked
from gputrain.tui.commands.command_messages import has_screen
from gputrain.tui.commands.launch.start_run import start_run


def run(options: argparse.Namespace) -> int:
    """Returns the exit code of the command, as a shell would report it."""
    if options.raw and options.json:
        raise BadInput("--raw and --json: choose one of them")
    command = checked(
        options.argv,
        Path.cwd(),
        terminal=options.pty or (has_screen(options) and not options.raw),
        inject=not options.no_inject and os.environ.get("GPUTRAIN_EXEC_DISABLE") != "1",
        images_per_step=options.images_per_step or 0,
    )
    return start_run(
        lambda: launch_script(command, options.name or "", options.tag or (), autotune=options.autotune),
        (),
        options,
        script=True,
    )
