"""What the commands that start a new run have in common: its warnings, its start, and watching it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable

from gputrain.engine.common.errors import EXIT_FAILED, EXIT_FINISHED
from gputrain.engine.common.sanitize import plain
from gputrain.engine.launching import launch
from gputrain.engine.runs.run_directory import RunDir
from gputrain.tui.commands.runs.watch import watch


def start_run(start: Callable[[], RunDir], warnings: Iterable[str], options: argparse.Namespace) -> int:
    """Say `warnings`, `start` the run and watch it, or with ``--detach`` print its name.

    Returns the exit code of the run's outcome.
    """
    if not options.json:
        for warning in warnings:
            print(f"plan: {plain(warning)}", file=sys.stderr)
    try:
        started = start()
    except RuntimeError as error:
        print(f"gputrain-tui: {plain(str(error), 1000)}", file=sys.stderr)
        return EXIT_FAILED
    if options.detach:
        print(started.id)
        return EXIT_FINISHED
    return watch(launch.attach(started), options, owner=True)
