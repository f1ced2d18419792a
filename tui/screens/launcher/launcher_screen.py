"""The first screen: choose profile, preset, recipe and data, see the plan, and start the run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.widgets import Button, Input

from gputrain.engine.common.errors import EXIT_FINISHED
from gputrain.engine.hardware.machine import Machine, inspect_machine
from gputrain.engine.launching import launch
from gputrain.engine.runs.run_directory import RunDir, RunInfo
from gputrain.tui.actions.launcher_choices import (
    Choice,
    Inspected,
    Launch,
    Launched,
    LiveRunsFound,
    Planned,
    inspect,
    launch_own,
    launch_plan,
    live_runs,
    plan_choice,
)
from gputrain.tui.actions.script.own_command import OwnCommand, Typed
from gputrain.tui.screens.dashboard.dashboard_screen import DashboardScreen
from gputrain.tui.screens.help_screen import HelpScreen
from gputrain.tui.screens.launcher.attach_dialog import AttachScreen
from gputrain.tui.screens.launcher.command_dialog import CommandScreen
from gputrain.tui.screens.launcher.launcher_keys import help_text
from gputrain.tui.screens.launcher.launcher_tools import bench_screen, calibrate_screen, check_screen
from gputrain.tui.screens.launcher.launcher_view import LauncherView
from gputrain.tui.screens.launcher.setting_dialog import SettingScreen
from gputrain.tui.widgets.menu import Menu, PresetRow
from gputrain.tui.widgets.plan_view import PlanView

_BLOCKED_WHILE_STARTING = frozenset(
    {"start", "preset", "edit", "reset", "explain", "check", "calibrate", "bench", "alerts", "runs", "leave"}
)


class LauncherScreen(LauncherView):
    """Handles keys and messages. Threads inspect the machine, make the plans and start the run."""

    def __init__(
        self,
        inspect: Callable[[], Machine] = inspect_machine,
        start: Launch = launch.launch,
        find_live_runs: Callable[[], list[RunInfo]] = live_runs,
    ) -> None:
        super().__init__()
        self._inspect, self._start_run, self._find_live_runs = inspect, start, find_live_runs
        self._planned_for: Choice | None = None
        self._opened = False
        self._typed = Typed(folder=str(Path.cwd()))

    def on_mount(self) -> None:
        """Inspect the machine and look for live runs, on threads."""
        self._in_background(lambda: inspect(self._inspect, self.post_message))
        self._in_background(lambda: self.post_message(LiveRunsFound(self._find_live_runs())))

    def _in_background(self, work: Callable[[], object]) -> None:
        # A daemon thread: quitting does not wait for a driver or a network drive that hangs.
        threading.Thread(target=work, name="launcher", daemon=True).start()

    # Results of the threads.

    def on_inspected(self, message: Inspected) -> None:
        """Fill the lists."""
        self._selection.recipes, self._error = message.recipes, message.error
        if message.machine is not None:
            self._selection.machine, self._selection.profiles = message.machine, message.profiles
        self._fill()
        self._replan()

    def on_live_runs_found(self, message: LiveRunsFound) -> None:
        """Offer to attach to a live run, unless the user already started one."""
        if message.found and not (self._starting or self._opened):
            self.app.push_screen(AttachScreen(message.found, self._ascii), self._open)

    def on_planned(self, message: Planned) -> None:
        """Show the plan, unless the choice has changed since."""
        if message.choice == self._planned_for:
            self._plan, self._error = message.plan, message.error
            self._show()

    def on_launched(self, message: Launched) -> None:
        """Open the dashboard, or show why the start failed."""
        self._starting, self._error = False, message.error
        self._show()
        self._open(message.run)

    # Choices.

    def on_menu_chosen(self, message: Menu.Chosen) -> None:
        """Plan for the new profile or recipe."""
        self._replan()

    def on_preset_row_picked(self, message: PresetRow.Picked) -> None:
        """Plan for the clicked preset."""
        self._take_preset(message.name)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Plan for the new data folder."""
        self._replan()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Accept the data folder; the next Enter starts the run."""
        self.query_one("#plan", PlanView).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Start, as Enter does."""
        self.action_start()

    def _choice(self) -> Choice | None:
        return self._selection.choice(self._choices.profile, self._choices.recipe, self._choices.data)

    def _replan(self) -> None:
        choice, machine = self._choice(), self._selection.machine
        if self._own_command:
            self._planned_for, self._plan, self._error = None, None, ""
        elif choice is not None and machine is not None and choice != self._planned_for:
            self._planned_for, self._plan, self._error = choice, None, ""
            self._in_background(lambda: self.post_message(plan_choice(machine, choice)))
        self._show()

    # Keys.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Block most actions while a run is being started."""
        return not (self._starting and action in _BLOCKED_WHILE_STARTING)

    def action_preset(self, step: int) -> None:
        """Select the next (+1) or previous (-1) preset; after the last comes the first."""
        if (match := self._match()) is not None and match.presets:
            self._take_preset(self._selection.preset_beside(match, step))

    def _take_preset(self, name: str) -> None:
        if (match := self._match()) is not None:
            self._selection.take_preset(match, name)
            self._replan()

    def action_edit(self) -> None:
        """Open the dialog that changes a setting."""
        self._say_if_own_command()
        if self._plan is not None:
            rows = {row.setting: row for row in self._plan.rows}
            self.app.push_screen(SettingScreen(rows, self._ascii), self._on_override)

    def _on_override(self, changed: tuple[str, Any] | None) -> None:
        if changed is None:
            return
        name, value = changed
        if name == "data_dir":
            self._choices.data = value
        else:
            self._selection.overrides[name] = value
        self._replan()

    def action_reset(self) -> None:
        """Undo all changed settings."""
        self._selection.overrides.clear()
        self._replan()

    def action_explain(self) -> None:
        """Show the help."""
        self.app.push_screen(HelpScreen(help_text(), self._ascii))

    def action_check(self) -> None:
        """Check the machine for the chosen recipe."""
        self._say_if_own_command()
        choice, machine = self._choice(), self._selection.machine
        if choice is not None and machine is not None:
            self.app.push_screen(check_screen(machine, choice, self._palette, self._ascii))

    def action_runs(self) -> None:
        """Open the list of runs; q there comes back."""
        # Imported here, so that the launcher opens faster.
        from gputrain.tui.screens.runs.runs_screen import RunsScreen

        self.app.push_screen(RunsScreen())

    def action_alerts(self) -> None:
        """Show the targets of alerts."""
        from gputrain.tui.screens.launcher.alerts_dialog import AlertsScreen

        self.app.push_screen(AlertsScreen())

    def action_calibrate(self) -> None:
        """Calibrate the planned configuration."""
        self._say_if_own_command()
        plan, machine = self._plan, self._selection.machine
        if plan is not None and machine is not None and self._ready():
            screen = calibrate_screen(machine, plan, self._palette, self._ascii)
            self.app.push_screen(screen, self._on_calibrated)

    def _on_calibrated(self, saved: bool | None) -> None:
        if saved:
            # Plan again: the new calibration adds a forecast.
            self._planned_for = None
            self._replan()

    def action_bench(self) -> None:
        """Measure the ablation from default settings to the plan."""
        self._say_if_own_command()
        plan, machine = self._plan, self._selection.machine
        if plan is not None and machine is not None and self._ready():
            self.app.push_screen(bench_screen(machine, plan, self._palette, self._ascii))

    def action_leave(self) -> None:
        """Quit without starting a run."""
        self.app.exit(EXIT_FINISHED)

    def action_start(self) -> None:
        """Start the planned run, or open the form for a command of the user's own."""
        if self._own_command and self._ready():
            self._ask_for_command()
            return
        plan = self._plan
        if plan is None or not self._ready():
            return
        self._starting, self._error = True, ""
        self._show()
        self._in_background(lambda: self.post_message(launch_plan(plan, self._start_run)))

    # A command of the user's own.

    def _say_if_own_command(self) -> None:
        if self._own_command:
            self.notify("for recipes only: a command of your own has no plan; choose a recipe first", markup=False)

    def _ask_for_command(self) -> None:
        screen = CommandScreen(self._typed, self._palette, self._ascii)

        def take(own: OwnCommand | None) -> None:
            self._typed = screen.typed
            if own is not None:
                self._starting, self._error = True, ""
                self._show()
                self._in_background(lambda: self.post_message(launch_own(own)))

        self.app.push_screen(screen, take)

    def _open(self, run: RunDir | None) -> None:
        if run is None:
            return
        self._opened = True
        # Pushed, because Textual cannot replace the first screen of an application.
        self.app.push_screen(DashboardScreen(launch.attach(run, outlined=True)))
