"""What the person has chosen in the launcher, and the plan that follows from it. No screen here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct
from textual.message import Message

from gputrain.engine.check.system_check import Tell as CheckTell
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.estimates import calibration_store
from gputrain.engine.estimates.calibration import Calibration
from gputrain.engine.events.speed_forecast import SpeedForecast
from gputrain.engine.hardware.machine import Machine
from gputrain.engine.jobs.calibration_job import calibrate
from gputrain.engine.planning.plan import Plan
from gputrain.engine.processes.child_job import Started, Tell
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunDir, RunInfo
from gputrain.profiles import catalog
from gputrain.profiles.catalog import Entry, Match
from gputrain.profiles.resolve_plan import resolve_plan
from gputrain.tui.actions.run_check import Checked, check

EXPECTED_ERRORS = (BadInput, OSError, RuntimeError)
"""What a look at files, folders and processes may raise; each is shown, none ends the launcher."""


class Choice(Struct, frozen=True):
    """Everything that a plan depends on beside the machine."""

    recipe: str
    profile: str = ""
    """Empty: the best one for the machine."""
    preset: str = ""
    """Empty: the profile's default."""
    data: str = ""
    """Folder of the images; empty: the recipe's own."""
    overrides: tuple[tuple[str, Any], ...] = ()
    """Checked settings by name, the person's own."""


class Launch(Protocol):
    """Starts a run, as `gputrain.engine.launching.launch.launch` does."""

    def __call__(
        self,
        config: RunConfig,
        origins: Mapping[str, str] | None = None,
        warnings: Sequence[str] = (),
        forecast: SpeedForecast | None = None,
    ) -> RunDir:
        """Return once the run is owned. Raises BadInput or RuntimeError."""
        ...


class Inspected(Message):
    """The recipes, then the machine and its profiles; `error` says why there are none."""

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
    """The plan for a choice, or why there can be none."""

    def __init__(self, choice: Choice, plan: Plan | None, error: str) -> None:
        super().__init__()
        self.choice = choice
        self.plan = plan
        self.error = error


class LiveRunsFound(Message):
    """Runs that go on at this moment."""

    def __init__(self, found: list[RunInfo]) -> None:
        super().__init__()
        self.found = found


class Launched(Message):
    """A run was started, or why not."""

    def __init__(self, run: RunDir | None, error: str) -> None:
        super().__init__()
        self.run = run
        self.error = error


def said(error: BaseException) -> str:
    """An error in one harmless line."""
    return plain(str(error), 600) or type(error).__name__


def inspect(inspect: Callable[[], Machine], post: Callable[[Message], object]) -> None:
    """Post the recipes at once, and the machine with its ranked profiles when it is known."""
    recipes: tuple[Entry, ...] = ()
    try:
        recipes = catalog.recipe_entries()
        post(Inspected(recipes))
        machine = inspect()
        post(Inspected(recipes, machine, tuple(catalog.rank(machine))))
    except EXPECTED_ERRORS as error:
        post(Inspected(recipes, error=said(error)))


def live_runs() -> list[RunInfo]:
    """Runs of this user that are not over, the newest first."""
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


def checked(machine: Machine, choice: Choice, tell: CheckTell) -> Checked:
    """Check the machine for `choice`."""
    return check(machine, lambda: plan_for(machine, choice), speed=True, tell=tell)


def measured(plan: Plan, machine: Machine, tell: Tell, started: Started) -> Calibration:
    """Calibrate the configuration of `plan` and keep the result. Raises BadInput or RuntimeError."""
    made = calibrate(plan.config, machine, tell=tell, started=started)
    calibration_store.save(made)
    return made


def planned(machine: Machine, choice: Choice) -> Planned:
    """`plan_for` as a message, its error in words."""
    try:
        return Planned(choice, plan_for(machine, choice), "")
    except EXPECTED_ERRORS as error:
        return Planned(choice, None, said(error))


def launched(plan: Plan, start: Launch) -> Launched:
    """Start the run of `plan`; its error in words."""
    try:
        return Launched(start(plan.config, plan.origins, (*plan.adjustments, *plan.warnings), plan.forecast), "")
    except EXPECTED_ERRORS as error:
        return Launched(None, said(error))
