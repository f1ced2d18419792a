"""``gputrain-tui tail RUN``: watch a run from its first event on, live or over."""

from __future__ import annotations

import argparse

from gputrain.engine import runs
from gputrain.tui.commands.watch import watch


def run(options: argparse.Namespace) -> int:
    """Returns the exit code of the run's outcome; 0 if it goes on."""
    return watch(runs.find(options.run), options, owner=False)
