"""``gputrain-tui tail RUN``: watch a run from its first event on, live or over, here or on another machine."""

from __future__ import annotations

import argparse
import sys

from gputrain.engine import launch, runs
from gputrain.engine.errors import EXIT_FAILED
from gputrain.engine.remote import name
from gputrain.engine.text import plain
from gputrain.tui.commands.output import has_screen
from gputrain.tui.commands.watch import watch


def run(options: argparse.Namespace) -> int:
    """Returns the exit code of the run's outcome; 0 if it goes on."""
    remote = name.parse(options.run)
    if remote is None:
        return watch(launch.attach(runs.find(options.run), outlined=has_screen(options)), options, owner=False)
    from gputrain.engine.remote import attachment  # most runs are here

    try:
        return watch(attachment.attach(remote, outlined=has_screen(options)), options, owner=False)
    except OSError as error:
        print(f"gputrain-tui: {plain(str(error), 500)}", file=sys.stderr)
        return EXIT_FAILED
