"""The first screen: profile, preset, recipe and data on one side, the plan that follows on the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.screen import Screen
from textual.widgets import Button, Input, Static

from gputrain.engine.common.errors import EXIT_FINISHED
from gputrain.engine.hardware.machine import Machine, inspect_machine
from gputrain.engine.launching import launch
from gputrain.engine.planning.plan import Plan
from gputrain.engine.runs.run_directory import RunDir, RunInfo
from gputrain.profiles.catalog import Match
from gputrain.tui.actions.launcher_choices import (
    Choice,
    Inspected,
    Launch,
    Launched,
    LiveRunsFound,
    Planned,
    inspect,
    launched,
    live_runs,
    planned,
)
from gputrain.tui.actions.launcher_selection import Selection
from gputrain.tui.layout.key_bindings import bindings
from gputrain.tui.layout.panel_layout import SMALLEST, too_small
from gputrain.tui.render.charset import wants_ascii
from gputrain.tui.render.launcher_lines import (
    STARTING,
    machine_line,
    profile_lines,
    recipe_line,
    verdict,
    waiting_for,
)
from gputrain.tui.render.styled_lines import Line, Span, line
from gputrain.tui.render.theme import Palette, palette
from gputrain.tui.screens.dashboard.dashboard import DashboardScreen
from gputrain.tui.screens.launcher.attach_dialog import AttachScreen
from gputrain.tui.screens.launcher.launcher_help import KEYS, LauncherHelpScreen
from gputrain.tui.screens.launcher.launcher_tools import bench_screen, calibrate_screen, check_screen
from gputrain.tui.screens.launcher.setting_dialog import SettingScreen
from gputrain.tui.widgets.key_bar import KeyBar
from gputrain.tui.widgets.launcher_choices_view import LauncherChoices
from gputrain.tui.widgets.menu import Menu, PresetRow, as_text
from gputrain.tui.widgets.panel import View
from gputrain.tui.widgets.plan_view import PlanView

_DECISIONS = frozenset({"start", "preset", "edit", "reset", "explain", "check", "calibrate", "bench", "runs", "leave"})


class LauncherScreen(Screen[None]):
    """Nothing here waits: the machine, the plans and the start are looked after by threads."""

    AUTO_FOCUS = "#profiles"
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 - as Textual declares it
        (0, "-too-narrow"),
        (SMALLEST[0], "-narrow"),
        (100, "-medium"),
        (150, "-wide"),
    ]
    VERTICAL_BREAKPOINTS = [  # noqa: RUF012 - as Textual declares it
        (0, "-too-short"),
        (SMALLEST[1], "-short"),
        (22, "-tall"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(KEYS),
        Binding("left", "preset(-1)", "preset before", show=False),
        Binding("ctrl+c", "leave", "quit", show=False, priority=True),
    ]

    def __init__(
        self,
        inspect: Callable[[], Machine] = inspect_machine,
        start: Launch = launch.launch,
        find_live_runs: Callable[[], list[RunInfo]] = live_runs,
    ) -> None:
        super().__init__()
        self._inspect, self._start_run, self._find_live_runs = inspect, start, find_live_runs
        self._ascii = wants_ascii()
        self._palette: Palette = {}
        self._selection = Selection()
        self._asked: Choice | None = None
        self._plan: Plan | None = None
        self._error = ""
        self._starting = False
        self._opened = False

    def compose(self) -> ComposeResult:
        """Choices, the plan, the start; the style sheet places them by the window's size."""
        yield Static(id="head", markup=False)
        with Container(id="body"):
            yield LauncherChoices(id="choices")
            with Container(id="result"):
                yield PlanView(id="plan")
                with Horizontal(id="go"):
                    yield Button("Start", id="start", variant="success", compact=True, disabled=True)
                    yield Static(id="verdict", markup=False)
        yield Static(id="too_small", markup=False)
        yield KeyBar(KEYS, id="keys")

    def on_mount(self) -> None:
        """Colours and a first picture, then look around."""
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self._restyle())
        self._restyle()
        self._in_background(lambda: inspect(self._inspect, self.post_message))
        self._in_background(lambda: self.post_message(LiveRunsFound(self._find_live_runs())))

    def _in_background(self, work: Callable[[], object]) -> None:
        # A daemon: whoever leaves need not wait for a driver or a network drive that hangs.
        threading.Thread(target=work, name="launcher", daemon=True).start()

    def on_resize(self) -> None:
        """Say it if the window is too small."""
        self.query_one("#too_small", Static).update(self._text(line((too_small(*self.app.size), "warn"))))

    # What was found.

    def on_inspected(self, message: Inspected) -> None:
        """Fill the lists."""
        self._selection.recipes, self._error = message.recipes, message.error
        if message.machine is not None:
            self._selection.machine, self._selection.profiles = message.machine, message.profiles
        self._fill()

    def on_live_runs_found(self, message: LiveRunsFound) -> None:
        """Offer to attach, before anything else is decided."""
        if message.found and not (self._starting or self._opened):
            self.app.push_screen(AttachScreen(message.found, self._ascii), self._open)

    def _fill(self) -> None:
        selection = self._selection
        profiles = [(match.name, self._text(*profile_lines(match))) for match in selection.profiles]
        self._choices.fill_profiles(profiles, selection.first_profile)
        recipes = [(entry.name, self._text(recipe_line(entry))) for entry in selection.recipes]
        self._choices.fill_recipes(recipes, selection.first_recipe)
        self._replan()

    def on_menu_chosen(self, message: Menu.Chosen) -> None:
        """Another profile or recipe."""
        self._replan()

    def on_preset_row_picked(self, message: PresetRow.Picked) -> None:
        """A preset was clicked."""
        self._take_preset(message.name)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Another data folder."""
        self._replan()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The folder is taken; the next Enter starts."""
        self.query_one("#plan", PlanView).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """The same as the key."""
        self.action_start()

    # From the choice to the plan.

    @property
    def _choices(self) -> LauncherChoices:
        return self.query_one(LauncherChoices)

    def _match(self) -> Match | None:
        return self._selection.profile(self._choices.profile)

    def _choice(self) -> Choice | None:
        return self._selection.choice(self._choices.profile, self._choices.recipe, self._choices.data)

    def _replan(self) -> None:
        choice, machine = self._choice(), self._selection.machine
        if choice is not None and machine is not None and choice != self._asked:
            self._asked, self._plan, self._error = choice, None, ""
            self._in_background(lambda: self.post_message(planned(machine, choice)))
        self._show()

    def on_planned(self, message: Planned) -> None:
        """Show the plan, unless something else was chosen meanwhile."""
        if message.choice == self._asked:
            self._plan, self._error = message.plan, message.error
            self._show()

    # Showing.

    def _restyle(self) -> None:
        background = self.styles.background.rich_color
        self._palette = palette(self.app.current_theme, background, mono=self.app.no_color)
        bar = self.query_one(KeyBar)
        bar.restyle(self._palette)
        bar.show(View(ascii=self._ascii))
        self._fill()

    def _text(self, *lines: Line) -> Text:
        return as_text(lines, self._palette, self._ascii)

    def _show(self) -> None:
        match, machine = self._match(), self._selection.machine
        self.query_one("#head", Static).update(self._text(machine_line(machine)))
        presets = match.presets if match else ()
        chosen = self._selection.preset(match) if match else ""
        self._choices.presets.show(presets, chosen, self._palette, self._ascii)
        waiting: Span = (self._error, "bad") if self._error else waiting_for(machine)
        self.query_one("#plan", PlanView).show(self._plan, waiting, self._palette, self._ascii)
        told = STARTING if self._starting else verdict(self._plan, self._error, machine)
        self.query_one("#verdict", Static).update(self._text(line(told)))
        self.query_one("#start", Button).disabled = not self._ready()
        overrides = self._selection.overrides
        self.query_one("#plan").border_subtitle = f"{len(overrides)} changed by you" if overrides else ""

    def _ready(self) -> bool:
        return self._plan is not None and not self._plan.refuses and not self._starting

    # Keys.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While a run is being started nothing else is decided."""
        return not (self._starting and action in _DECISIONS)

    def action_preset(self, step: int) -> None:
        """Another preset, around the end."""
        if (match := self._match()) is not None and match.presets:
            self._take_preset(self._selection.preset_beside(match, step))

    def _take_preset(self, name: str) -> None:
        if (match := self._match()) is not None:
            self._selection.take_preset(match, name)
            self._replan()

    def action_edit(self) -> None:
        """Change a setting."""
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
        """Take back what was changed."""
        self._selection.overrides.clear()
        self._replan()

    def action_explain(self) -> None:
        """The help."""
        self.app.push_screen(LauncherHelpScreen(self._ascii))

    def action_check(self) -> None:
        """Check the machine for what is chosen."""
        choice, machine = self._choice(), self._selection.machine
        if choice is not None and machine is not None:
            self.app.push_screen(check_screen(machine, choice, self._palette, self._ascii))

    def action_runs(self) -> None:
        """All runs; q there comes back."""
        from gputrain.tui.screens.runs.runs_screen import RunsScreen  # the first screen is to be there at once

        self.app.push_screen(RunsScreen())

    def action_calibrate(self) -> None:
        """Measure what is chosen."""
        plan, machine = self._plan, self._selection.machine
        if plan is not None and machine is not None and self._ready():
            screen = calibrate_screen(machine, plan, self._palette, self._ascii)
            self.app.push_screen(screen, self._on_calibrated)

    def _on_calibrated(self, made: bool | None) -> None:
        if made:
            self._asked = None
            self._replan()

    def action_bench(self) -> None:
        """Measure the stages from standard settings to the plan."""
        plan, machine = self._plan, self._selection.machine
        if plan is not None and machine is not None and self._ready():
            self.app.push_screen(bench_screen(machine, plan, self._palette, self._ascii))

    def action_leave(self) -> None:
        """Leave; nothing was started."""
        self.app.exit(EXIT_FINISHED)

    def action_start(self) -> None:
        """Start the run of the plan."""
        plan = self._plan
        if plan is None or not self._ready():
            return
        self._starting, self._error = True, ""
        self._show()
        self._in_background(lambda: self.post_message(launched(plan, self._start_run)))

    def on_launched(self, message: Launched) -> None:
        """On to the dashboard, or say what is wrong."""
        self._starting, self._error = False, message.error
        self._show()
        self._open(message.run)

    def _open(self, run: RunDir | None) -> None:
        if run is None:
            return
        self._opened = True
        # Pushed: Textual cannot switch away from an application's first screen.
        self.app.push_screen(DashboardScreen(launch.attach(run, outlined=True)))
