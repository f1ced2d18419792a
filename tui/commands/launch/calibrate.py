"""``gputrain-tui calibrate``: measures a recipe on this machine, so that plans can predict its speed."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import msgspec

from gputrain.engine.common.errors import EXIT_FINISHED, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import duration
from gputrain.engine.estimates import calibration_store
from gputrain.engine.estimates.calibration import Calibration
from gputrain.engine.hardware.machine import Machine, inspect_machine
from gputrain.engine.jobs.calibration_job import SECONDS, calibrate, probable_seconds
from gputrain.engine.planning.plan import Plan
from gputrain.tui.actions.plan_from_arguments import plan_of
from gputrain.tui.commands.command_messages import fail, progress_printer

_FACTS = ("device", "speed", "measured", "largest batch", "time")


def run(options: argparse.Namespace) -> int:
    """Returns 0 if the measurement was saved, 1 if it failed."""
    machine = inspect_machine()
    plan = plan_of(options, machine)
    if plan.refuses:
        raise BadInput("; ".join(plan.refuses))
    try:
        made, path = measure(plan, machine, options.seconds)
    except RuntimeError as error:
        return fail(error)
    if options.json:
        print(msgspec.json.encode(made).decode())
        return EXIT_FINISHED
    for name, text in plan_of(options, machine).facts:
        if name in _FACTS:
            print(f"{name:<14} {text}")
    print(f"saved in {path}")
    return EXIT_FINISHED


def measure(plan: Plan, machine: Machine, seconds: float = SECONDS) -> tuple[Calibration, Path]:
    """Calibrate the configuration of `plan` and save the result. Raises BadInput or RuntimeError."""
    report = _ProgressPrinter(probable_seconds(plan.config, seconds))
    made = calibrate(plan.config, machine, seconds=seconds, tell=report)
    return made, calibration_store.save(made)


class _ProgressPrinter:
    """Prints progress, with the remaining time if a previous calibration gives an estimate."""

    def __init__(self, probable: float | None) -> None:
        self._probable = probable
        self._print = progress_printer("calibrate")
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        left = self._probable - (time.monotonic() - self._began) if self._probable is not None else 0.0
        rest = f" (about {duration(left)} left)" if left >= 1 else ""
        self._print(f"{plain(text, 200)}{rest}")
