"""Starts a new run for the commands train and clone, and watches it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable

from gputrain.engine.common.errors import EXIT_FINISHED, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.hardware.slurm import step_tasks
from gputrain.engine.launching import launch
from gputrain.engine.runs.run_directory import RunDir
from gputrain.tui.commands.command_messages import fail
from gputrain.tui.commands.runs.watch import watch
from gputrain.tui.commands.runs.watch_signals import StopSignals


def start_run(
    start: Callable[[], RunDir], warnings: Iterable[str], options: argparse.Namespace, *, script: bool = False
) -> int:
    """Print `warnings`, call `start`, and watch the run, or with ``--detach`` print its id.

    `script`: the run is a script of the user's own.

    Returns the exit code for the outcome of the run.
    """
    if not options.json:
        for warning in warnings:
            print(f"plan: {plain(warning)}", file=sys.stderr)
    with StopSignals(owner=True, script=script) as signals:
        try:
            started = start()
        except RuntimeError as error:
            return fail(error)
        if options.detach:
            print(started.id)
            return EXIT_FINISHED
        code = watch(launch.attach(started), options, signals)
        launch.wait_for_exit(started)
    return code


def require_single_task() -> None:
    """Raises BadInput in an srun step of several tasks: each of them would start a run of its own."""
    if (tasks := step_tasks()) > 1:
        raise BadInput(
            f"this srun step has {tasks} tasks, and each would start its own run: use srun --ntasks=1 "
            "(one run on several GPUs: devices=N)"
        )
