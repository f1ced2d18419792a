"""``gputrain-tui exec -- COMMAND``: a training script of the user's own, watched as a run."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from gputrain.engine.common.errors import BadInput
from gputrain.engine.launching.launch_script import launch_script
from gputrain.engine.user_script import exec_file
from gputrain.engine.user_script.exec_file import ExecFile
from gputrain.engine.user_script.script_command import checked
from gputrain.tui.commands.command_messages import has_screen
from gputrain.tui.commands.launch.start_run import start_run


def run(options: argparse.Namespace) -> int:
    """Returns the exit code of the command, as a shell would report it."""
    if options.raw and options.json:
        raise BadInput("--raw and --json: choose one of them")
    file = exec_file.read(Path(options.config)) if options.config else ExecFile()
    command = checked(
        options.argv or list(file.command),
        Path.cwd(),
        terminal=options.pty or file.pty or (has_screen(options) and not options.raw),
        inject=not (options.no_inject or file.no_inject) and os.environ.get("GPUTRAIN_EXEC_DISABLE") != "1",
        images_per_step=options.images_per_step or file.images_per_step,
    )
    name, tags = options.name or file.name, options.tag or file.tags
    return start_run(
        lambda: launch_script(command, name, tags, autotune=options.autotune or file.autotune),
        (),
        options,
        script=True,
    )
