"""Starts a new run for the commands train and clone, and watches it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable

from gputrain.engine.common.errors import EXIT_FINISHED
from gputrain.engine.common.sanitize import plain
from gputrain.engine.launching import launch
from gputrain.engine.runs.run_directory import RunDir
from gputrain.tui.commands.output import fail
from gputrain.tui.commands.runs.watch import watch


def start_run(start: Callable[[], RunDir], warnings: Iterable[str], options: argparse.Namespace) -> int:
    """Print `warnings`, call `start`, and watch the run, or with ``--detach`` print its id.

    Returns the exit code for the outcome of the run.
    """
    if not options.json:
        for warning in warnings:
            print(f"plan: {plain(warning)}", file=sys.stderr)
    try:
        started = start()
    except RuntimeError as error:
        return fail(error)
    if options.detach:
        print(started.id)
        return EXIT_FINISHED
    return watch(launch.attach(started), options, owner=True)
