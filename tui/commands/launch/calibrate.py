"""``gputrain-tui calibrate``: measure a recipe on this machine, so that plans can foretell its speed."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import msgspec

from gputrain.engine.common.errors import EXIT_FAILED, EXIT_FINISHED, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import duration
from gputrain.engine.estimates import calibration_store
from gputrain.engine.estimates.calibration import Calibration
from gputrain.engine.hardware.machine import Machine, inspect_machine
from gputrain.engine.jobs.calibration_job import SECONDS, calibrate, probable_seconds
from gputrain.engine.planning.plan import Plan
from gputrain.tui.actions.plan_from_arguments import plan_of

_TOLD = ("device", "speed", "measured", "largest batch", "time")


def run(options: argparse.Namespace) -> int:
    """Returns 0 when the measurement is kept, 1 if it could not be taken."""
    machine = inspect_machine()
    plan = plan_of(options, machine)
    if plan.refuses:
        raise BadInput("; ".join(plan.refuses))
    try:
        made, path = measure(plan, machine, options.seconds)
    except RuntimeError as error:
        print(f"gputrain-tui: {plain(str(error), 600)}", file=sys.stderr)
        return EXIT_FAILED
    if options.json:
        print(msgspec.json.encode(made).decode())
        return EXIT_FINISHED
    for name, text in plan_of(options, machine).facts:
        if name in _TOLD:
            print(f"{name:<14} {text}")
    print(f"kept in {path}")
    return EXIT_FINISHED


def measure(plan: Plan, machine: Machine, seconds: float = SECONDS) -> tuple[Calibration, Path]:
    """Calibrate the configuration of `plan` and keep the result. Raises BadInput or RuntimeError."""
    tell = _ProgressPrinter(probable_seconds(plan.config, seconds))
    made = calibrate(plan.config, machine, seconds=seconds, tell=tell)
    return made, calibration_store.save(made)


class _ProgressPrinter:
    """Prints what is being done, with how long it will take all in all if that is known from the last time."""

    def __init__(self, probable: float | None) -> None:
        self._probable = probable
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        left = self._probable - (time.monotonic() - self._began) if self._probable is not None else 0.0
        rest = f" (about {duration(left)} to the end)" if left >= 1 else ""
        print(f"calibrate: {plain(text, 200)}{rest}", file=sys.stderr, flush=True)
