"""Creates the launcher's dialogs for system check, calibration and ablation."""

from __future__ import annotations

from functools import partial

from gputrain.engine.hardware.machine import Machine
from gputrain.engine.jobs.bench_job import STEPS
from gputrain.engine.jobs.calibration_job import probable_seconds
from gputrain.engine.planning.plan import Plan
from gputrain.tui.actions.launcher_choices import Choice, calibrate_plan, check_choice
from gputrain.tui.actions.run_ablation import ROUNDS, blank, measure_stages, stages_for
from gputrain.tui.render.theme import Palette
from gputrain.tui.screens.launcher.bench_dialog import BenchScreen
from gputrain.tui.screens.launcher.calibrate_dialog import CalibrateScreen
from gputrain.tui.screens.launcher.check_dialog import CheckScreen


def check_screen(machine: Machine, choice: Choice, colours: Palette, ascii_only: bool) -> CheckScreen:
    """The dialog that checks `machine` for the current choice."""
    return CheckScreen(partial(check_choice, machine, choice), colours, ascii_only)


def calibrate_screen(machine: Machine, plan: Plan, colours: Palette, ascii_only: bool) -> CalibrateScreen:
    """The dialog that calibrates the planned configuration."""
    return CalibrateScreen(partial(calibrate_plan, plan, machine), colours, ascii_only, probable_seconds(plan.config))


def bench_screen(machine: Machine, plan: Plan, colours: Palette, ascii_only: bool) -> BenchScreen:
    """The dialog that measures all stages from default settings to the plan."""
    stages = stages_for(plan, machine, every=True)
    bench = blank(plan, machine, stages, steps=STEPS, rounds=ROUNDS)
    return BenchScreen(bench, partial(measure_stages, bench, plan.config, stages), colours, ascii_only)
