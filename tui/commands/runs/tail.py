"""``gputrain-tui tail RUN``: watch a run from its first event on, live or over, here or on another machine."""

from __future__ import annotations

import argparse
import sys

from gputrain.engine.common.errors import EXIT_FAILED
from gputrain.engine.common.sanitize import plain
from gputrain.engine.launching import launch
from gputrain.engine.runs import remote_name, run_directory
from gputrain.tui.commands.output import has_screen
from gputrain.tui.commands.runs.stop_signals import StopSignals
from gputrain.tui.commands.runs.watch import watch


def run(options: argparse.Namespace) -> int:
    """Returns the exit code of the run's outcome; 0 if it goes on."""
    remote = remote_name.parse(options.run)
    if remote is None:
        attachment = launch.attach(run_directory.find(options.run), outlined=has_screen(options))
        with StopSignals(owner=False) as signals:
            return watch(attachment, options, signals)
    from gputrain.engine.remote import remote_attachment  # most runs are here

    try:
        there = remote_attachment.attach(remote, outlined=has_screen(options))
        with StopSignals(owner=False) as signals:
            return watch(there, options, signals)
    except OSError as error:
        print(f"gputrain-tui: {plain(str(error), 500)}", file=sys.stderr)
        return EXIT_FAILED
