"""``gputrain-tui exec -- COMMAND``: a training script of the user's own, watched as a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from gputrain.engine.common.errors import BadInput
from gputrain.engine.user_script import exec_file
from gputrain.engine.user_script.exec_file import ExecFile
from gputrain.engine.user_script.script_command import is_input_given
from gputrain.tui.actions.script import own_command
from gputrain.tui.actions.script.own_command import OwnCommand
from gputrain.tui.commands.command_messages import has_screen
from gputrain.tui.commands.launch.start_run import start_run


def run(options: argparse.Namespace) -> int:
    """Returns the exit code of the command, as a shell would report it."""
    if options.raw and options.json:
        raise BadInput("--raw and --json: choose one of them")
    file = exec_file.read(Path(options.config)) if options.config else ExecFile()
    per_step, unit = exec_file.per_step(options, file)
    own = OwnCommand(
        argv=tuple(options.argv) or file.command,
        folder=_folder(),
        name=options.name or file.name,
        tags=tuple(options.tag or file.tags),
        per_step=per_step,
        unit=unit,
        autotune=options.autotune or file.autotune,
        inject=not (options.no_inject or file.no_inject),
        hang_seconds=file.hang_seconds if options.hang_seconds is None else options.hang_seconds,
        given=is_input_given(),
        terminal=options.pty or file.pty or (has_screen(options) and not options.raw),
    )
    # Before the signal handlers and anything else: a command that cannot run leaves nothing behind.
    own_command.prepare(own)
    return start_run(lambda: own_command.start(own), (), options, script=True)


def _folder() -> Path:
    """The current folder. Raises BadInput if it was deleted."""
    try:
        return Path.cwd()
    except OSError:
        raise BadInput("the current folder was deleted; cd to the one that the command shall run in") from None
