"""``gputrain-tui tail RUN``: watches a run from its first event on, live or finished, local or on another machine."""

from __future__ import annotations

import argparse

from gputrain.engine.launching import launch
from gputrain.engine.runs import remote_name, run_directory
from gputrain.tui.commands.command_messages import fail, has_screen
from gputrain.tui.commands.runs.watch import watch
from gputrain.tui.commands.runs.watch_signals import StopSignals


def run(options: argparse.Namespace) -> int:
    """Returns the exit code for the outcome of the run; 0 if it continues."""
    remote = remote_name.parse(options.run)
    if remote is None:
        attachment = launch.attach(run_directory.find(options.run), outlined=has_screen(options))
        with StopSignals(owner=False) as signals:
            return watch(attachment, options, signals)
    from gputrain.engine.remote import reconnecting_attachment  # imported here: most runs are local

    try:
        there = reconnecting_attachment.attach(remote, outlined=has_screen(options))
        with StopSignals(owner=False) as signals:
            return watch(there, options, signals)
    except OSError as error:
        return fail(error)
