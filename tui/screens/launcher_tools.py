"""What the launcher opens over itself: to check the machine, to calibrate the recipe, to measure the ladder."""

from __future__ import annotations

from functools import partial

from gputrain.engine.benching import STEPS
from gputrain.engine.calibrating import probable_seconds
from gputrain.engine.machine import Machine
from gputrain.engine.plan import Plan
from gputrain.tui.choosing import Choice, checked, measured
from gputrain.tui.climbing import ROUNDS, blank, climb, rungs_of
from gputrain.tui.screens.bench import BenchScreen
from gputrain.tui.screens.calibrate import CalibrateScreen
from gputrain.tui.screens.check import CheckScreen
from gputrain.tui.theme import Palette


def check_screen(machine: Machine, choice: Choice, colours: Palette, ascii_only: bool) -> CheckScreen:
    """Checks `machine` for what is chosen."""
    return CheckScreen(partial(checked, machine, choice), colours, ascii_only)


def calibrate_screen(machine: Machine, plan: Plan, colours: Palette, ascii_only: bool) -> CalibrateScreen:
    """Measures what is planned; its answer says whether there is something new for a plan."""
    return CalibrateScreen(partial(measured, plan, machine), colours, ascii_only, probable_seconds(plan.config))


def bench_screen(machine: Machine, plan: Plan, colours: Palette, ascii_only: bool) -> BenchScreen:
    """Measures the rungs from standard settings to the plan."""
    rungs = rungs_of(plan, machine, every=True)
    bench = blank(plan, machine, rungs, steps=STEPS, rounds=ROUNDS)
    return BenchScreen(bench, partial(climb, bench, plan.config, rungs), colours, ascii_only)
