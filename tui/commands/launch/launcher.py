"""``gputrain-tui`` without a command: opens the launcher."""

from __future__ import annotations

import argparse
import time

from gputrain.engine.common.errors import EXIT_PREEMPTED, BadInput
from gputrain.engine.hardware import slurm
from gputrain.engine.processes.scheduler_signals import PREEMPTING
from gputrain.engine.runs import run_directory
from gputrain.tui.commands.command_messages import on_screen, print_error
from gputrain.tui.commands.show_app import die, show_app


def run(_options: argparse.Namespace) -> int:
    """Open the launcher. Returns the exit code of the run that it started; 0 if none."""
    if not on_screen():
        raise BadInput(
            "the launcher needs a terminal; without one: gputrain-tui train --recipe demo, gputrain-tui runs, "
            "gputrain-tui tail last (see gputrain-tui --help)"
        )
    return show_app(lambda app: app(), on_signal=_leave)


def _leave(number: int, run_id: str) -> int:
    """End after a signal. In an srun step first wait for the run that was shown.

    It has got the signal too, and Slurm may kill it as soon as the step's first process has left.
    """
    if not (run_id and number in PREEMPTING and slurm.in_step()):
        die(number, run_id)
    print_error(f"waiting for the checkpoint of run {run_id}")
    run = run_directory.find(run_id)
    while run.is_live():
        time.sleep(_POLL_SECONDS)
    return EXIT_PREEMPTED


_POLL_SECONDS = 0.1
