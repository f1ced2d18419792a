"""``gputrain-tui`` without a command: opens the launcher."""

from __future__ import annotations

import argparse

from gputrain.engine.common.errors import BadInput
from gputrain.tui.commands.command_messages import on_screen
from gputrain.tui.commands.show_app import show_app


def run(_options: argparse.Namespace) -> int:
    """Open the launcher. Returns the exit code of the run that it started; 0 if none."""
    if not on_screen():
        raise BadInput(
            "the launcher needs a terminal; without one: gputrain-tui train --recipe demo, gputrain-tui runs, "
            "gputrain-tui tail last (see gputrain-tui --help)"
        )
    return show_app(lambda app: app())
