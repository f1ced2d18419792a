"""``gputrain-tui tail RUN``: watches a run from its first event on, live or finished, local or on another machine."""

from __future__ import annotations

import argparse

from gputrain.engine.launching import launch
from gputrain.engine.runs import remote_name, run_directory
from gputrain.tui.commands.output import fail, has_screen
from gputrain.tui.commands.runs.watch import watch


def run(options: argparse.Namespace) -> int:
    """Returns the exit code for the outcome of the run; 0 if it continues."""
    remote = remote_name.parse(options.run)
    if remote is None:
        return watch(launch.attach(run_directory.find(options.run), outlined=has_screen(options)), options, owner=False)
    from gputrain.engine.remote import remote_attachment  # imported here: most runs are local

    try:
        return watch(remote_attachment.attach(remote, outlined=has_screen(options)), options, owner=False)
    except OSError as error:
        return fail(error)
