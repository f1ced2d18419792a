"""The choices made in the launcher, and the work that follows from them: inspect, plan, check, calibrate, start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct
from textual.message import Message

from gputrain.engine.check.system_check import OnLines as CheckTell
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.estimates import calibration_store
from gputrain.engine.estimates.calibration import Calibration
from gputrain.engine.events.speed_forecast import SpeedForecast
from gputrain.engine.hardware.machine import Machine
from gputrain.engine.jobs.calibration_job import calibrate
from gputrain.engine.planning.plan import Plan
from gputrain.engine.processes.child_job import OnStarted, ProgressCallback
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunDir, RunInfo
from gputrain.profiles import catalog
from gputrain.profiles.catalog import Entry, Match
from gputrain.profiles.resolve_plan import resolve_plan
from gputrain.tui.actions.run_check import Checked, check
from gputrain.tui.actions.script import own_command
from gputrain.tui.actions.script.own_command import OwnCommand

EXPECTED_ERRORS = (BadInput, OSError, RuntimeError)
"""Errors of files, folders and processes. Screens show them and stay open."""


class Choice(Struct, frozen=True):
    """Everything that a plan depends on, besides the machine."""

    recipe: str
    profile: str = ""
    """Empty: the best match for the machine."""
    preset: str = ""
    """Empty: the profile's default."""
    data: str = ""
    """Folder of the images; empty: the recipe's own."""
    overrides: tuple[tuple[str, Any], ...] = ()
    """Validated settings by name, as the user changed them."""


class Launch(Protocol):
    """Starts a run, as `gputrain.engine.launching.launch.launch` does."""

    def __call__(
        self,
        config: RunConfig,
        origins: Mapping[str, str] | None = None,
        warnings: Sequence[str] = (),
        forecast: SpeedForecast | None = None,
    ) -> RunDir:
        """Return once a supervisor owns the run. Raises BadInput or RuntimeError."""
        ...


class Inspected(Message):
    """The recipes, and later the machine with its profiles; `error` says why they are missing."""

    def __init__(
        self,
        recipes: tuple[Entry, ...] = (),
        machine: Machine | None = None,
        profiles: tuple[Match, ...] = (),
        error: str = "",
    ) -> None:
        super().__init__()
        self.recipes = recipes
        self.machine = machine
        self.profiles = profiles
        self.error = error


class Planned(Message):
    """The plan for a choice, or the error that prevents one."""

    def __init__(self, choice: Choice, plan: Plan | None, error: str) -> None:
        super().__init__()
        self.choice = choice
        self.plan = plan
        self.error = error


class LiveRunsFound(Message):
    """The runs that are live now."""

    def __init__(self, found: list[RunInfo]) -> None:
        super().__init__()
        self.found = found


class Launched(Message):
    """The started run, or the error that prevented the start."""

    def __init__(self, run: RunDir | None, error: str) -> None:
        super().__init__()
        self.run = run
        self.error = error


def error_text(error: BaseException) -> str:
    """The error as one line without control characters."""
    return plain(str(error), 600) or type(error).__name__


def inspect(inspect: Callable[[], Machine], post: Callable[[Message], object]) -> None:
    """Post the recipes at once, then the machine with its ranked profiles."""
    recipes: tuple[Entry, ...] = ()
    try:
        recipes = catalog.recipe_entries()
        post(Inspected(recipes))
        machine = inspect()
        post(Inspected(recipes, machine, tuple(catalog.rank(machine))))
    except EXPECTED_ERRORS as error:
        post(Inspected(recipes, error=error_text(error)))


def live_runs() -> list[RunInfo]:
    """Runs of this user that have not ended, newest first."""
    return [found for found in run_directory.list_runs() if found.status is not None and not found.status.state.over]


def plan_for(machine: Machine, choice: Choice) -> Plan:
    """The plan of `choice`. Raises BadInput or OSError."""
    return resolve_plan(
        machine,
        recipe=choice.recipe,
        profile=choice.profile or None,
        preset=choice.preset or None,
        overrides=dict(choice.overrides),
        data_dir=choice.data or None,
    )


def check_choice(machine: Machine, choice: Choice, report: CheckTell) -> Checked:
    """Run the system check for `choice`; `report` gets the findings as they come."""
    return check(machine, lambda: plan_for(machine, choice), speed=True, tell=report)


def calibrate_plan(plan: Plan, machine: Machine, report: ProgressCallback, started: OnStarted) -> Calibration:
    """Calibrate the configuration of `plan` and save the result. Raises BadInput or RuntimeError."""
    made = calibrate(plan.config, machine, tell=report, started=started)
    calibration_store.save(made)
    return made


def plan_choice(machine: Machine, choice: Choice) -> Planned:
    """The result of `plan_for` as a message; an error becomes its text."""
    try:
        return Planned(choice, plan_for(machine, choice), "")
    except EXPECTED_ERRORS as error:
        return Planned(choice, None, error_text(error))


def launch_plan(plan: Plan, start: Launch) -> Launched:
    """Start the run of `plan`; an error becomes its text."""
    try:
        return Launched(start(plan.config, plan.origins, (*plan.adjustments, *plan.warnings), plan.forecast), "")
    except EXPECTED_ERRORS as error:
        return Launched(None, error_text(error))


def launch_own(own: OwnCommand) -> Launched:
    """Start a command of the user's own; an error becomes its text."""
    try:
        return Launched(own_command.start(own), "")
    except EXPECTED_ERRORS as error:
        return Launched(None, error_text(error))
