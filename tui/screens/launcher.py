"""The first screen: profile, preset, recipe and data on one side, the plan that follows on the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.screen import Screen
from textual.widgets import Button, Footer, Input, Static

from gputrain.engine import launch
from gputrain.engine.errors import EXIT_FINISHED
from gputrain.engine.machine import Machine, inspect_machine
from gputrain.engine.plan import Plan
from gputrain.engine.runs import RunDir, RunInfo
from gputrain.engine.text import plain
from gputrain.profiles.catalog import Entry, Match
from gputrain.tui.arrangement import SMALLEST
from gputrain.tui.choosing import (
    FAULTS,
    Choice,
    Found,
    Going,
    Launch,
    Launched,
    Planned,
    checked,
    going_runs,
    look_around,
    measured,
    planned,
    said,
)
from gputrain.tui.launcherlines import LOOKING, machine_line, profile_lines, recipe_line
from gputrain.tui.lines import Line, Span, line
from gputrain.tui.screens.attach import AttachScreen
from gputrain.tui.screens.calibrate import CalibrateScreen
from gputrain.tui.screens.check import CheckScreen
from gputrain.tui.screens.dashboard import DashboardScreen
from gputrain.tui.screens.launcher_help import KEYS, LauncherHelpScreen
from gputrain.tui.screens.override import OverrideScreen
from gputrain.tui.theme import Palette, palette, wants_ascii
from gputrain.tui.widgets.menu import Menu, PresetRow, as_text
from gputrain.tui.widgets.planview import PlanView

_PLANNING: Span = ("planning…", "dim")
_DECISIONS = frozenset({"start", "preset", "edit", "reset", "explain", "check", "calibrate", "leave"})
FIRST_RECIPE = "demo"
"""Chosen at first: it runs everywhere, without data."""


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
        *(Binding(key.keys, key.action, key.label, key_display=key.shown, tooltip=key.help) for key in KEYS),
        Binding("left", "preset(-1)", "preset before", show=False),
        Binding("ctrl+c", "leave", "quit", show=False, priority=True),
    ]

    def __init__(
        self,
        inspect: Callable[[], Machine] = inspect_machine,
        start: Launch = launch.launch,
        going: Callable[[], list[RunInfo]] = going_runs,
    ) -> None:
        super().__init__()
        self._inspect, self._start_run, self._list_going = inspect, start, going
        self._ascii = wants_ascii()
        self._palette: Palette = {}
        self._machine: Machine | None = None
        self._profiles: tuple[Match, ...] = ()
        self._recipes: tuple[Entry, ...] = ()
        self._presets: dict[str, str] = {}
        self._overrides: dict[str, Any] = {}
        self._asked: Choice | None = None
        self._plan: Plan | None = None
        self._error = ""
        self._starting = False
        self._opened = False

    def compose(self) -> ComposeResult:
        """Choices, the plan, the start; the style sheet places them by the window's size."""
        yield Static(id="head", markup=False)
        with Container(id="body"):
            with Container(id="choices"):
                yield Menu("Profile", id="profiles")
                with Container(id="side"):
                    yield Menu("Recipe", id="recipes")
                    yield PresetRow(id="presets")
                    data = Input(placeholder="the recipe's own", id="data")
                    data.border_title = "Data folder"
                    yield data
            with Container(id="result"):
                yield PlanView(id="plan")
                with Horizontal(id="go"):
                    yield Button("Start", id="start", variant="success", compact=True, disabled=True)
                    yield Static(id="verdict", markup=False)
        yield Static(id="too_small", markup=False)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Colours and a first picture, then look around."""
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self._restyle())
        self._restyle()
        self._in_background(lambda: look_around(self._inspect, self.post_message))
        self._in_background(lambda: self.post_message(Going(self._list_going())))

    def _in_background(self, work: Callable[[], object]) -> None:
        # A daemon: whoever leaves need not wait for a driver or a network drive that hangs.
        threading.Thread(target=work, name="launcher", daemon=True).start()

    def on_resize(self) -> None:
        """Say it if the window is too small."""
        columns, rows = self.app.size
        needed = f"{SMALLEST[0]}×{SMALLEST[1]}"
        text = line((f"terminal too small: needs {needed}, has {columns}×{rows}", "warn"))
        self.query_one("#too_small", Static).update(self._text(text))

    # What was found.

    def on_found(self, message: Found) -> None:
        """Fill the lists."""
        self._recipes, self._error = message.recipes, message.error
        if message.machine is not None:
            self._machine, self._profiles = message.machine, message.profiles
        self._fill()

    def on_going(self, message: Going) -> None:
        """Offer to attach, before anything else is decided."""
        if message.found and not (self._starting or self._opened):
            self.app.push_screen(AttachScreen(message.found, self._ascii), self._on_attach)

    def _on_attach(self, run: RunDir | None) -> None:
        if run is not None:
            self._open(run)

    def _fill(self) -> None:
        profiles, recipes = self.query_one("#profiles", Menu), self.query_one("#recipes", Menu)
        names = [entry.name for entry in self._recipes]
        recipe = recipes.chosen or (FIRST_RECIPE if FIRST_RECIPE in names else next(iter(names), ""))
        recipes.fill([(entry.name, self._text(recipe_line(entry))) for entry in self._recipes], recipe)
        profile = profiles.chosen or next((match.name for match in self._profiles), "")
        profiles.fill([(match.name, self._text(*profile_lines(match))) for match in self._profiles], profile)
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

    def _match(self) -> Match | None:
        name = self.query_one("#profiles", Menu).chosen
        return next((match for match in self._profiles if match.name == name), None)

    def _preset(self, match: Match) -> str:
        return self._presets.get(match.name, match.default_preset)

    def _choice(self) -> Choice | None:
        """What is chosen now; None until there is a recipe and a profile."""
        match, recipe = self._match(), self.query_one("#recipes", Menu).chosen
        if match is None or not recipe:
            return None
        return Choice(
            recipe=recipe,
            # Left to the machine unless somebody chose otherwise, so that the origins say so.
            profile="" if match is self._profiles[0] else match.name,
            preset=self._presets.get(match.name, ""),
            data=self.query_one("#data", Input).value.strip(),
            overrides=tuple(self._overrides.items()),
        )

    def _replan(self) -> None:
        choice, machine = self._choice(), self._machine
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
        self._fill()

    def _text(self, *lines: Line) -> Text:
        return as_text(lines, self._palette, self._ascii)

    def _show(self) -> None:
        match = self._match()
        self.query_one("#head", Static).update(self._text(machine_line(self._machine)))
        presets = match.presets if match else ()
        chosen = self._preset(match) if match else ""
        self.query_one("#presets", PresetRow).show(presets, chosen, self._palette, self._ascii)
        waiting: Span = (self._error, "bad") if self._error else _PLANNING if self._machine else LOOKING
        self.query_one("#plan", PlanView).show(self._plan, waiting, self._palette, self._ascii)
        self.query_one("#verdict", Static).update(self._text(line(self._verdict())))
        self.query_one("#start", Button).disabled = not self._ready()
        changed = f"{len(self._overrides)} changed by you" if self._overrides else ""
        self.query_one("#plan").border_subtitle = changed

    def _verdict(self) -> Span:
        if self._starting:
            return "○ starting…", "data"
        if self._error:
            return f"■ {self._error}", "bad"
        if self._plan is None:
            return _PLANNING if self._machine else LOOKING
        if self._plan.refuses:
            return f"■ cannot start: {plain(self._plan.refuses[0], 600)}", "bad"
        warnings = len(self._plan.warnings)
        said_so = f"with {warnings} warning{'s' if warnings > 1 else ''}" if warnings else "ready"
        return f"● {said_so}: Enter starts", "warn" if warnings else "good"

    def _ready(self) -> bool:
        return self._plan is not None and not self._plan.refuses and not self._starting

    # Keys.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While a run is being started nothing else is decided."""
        return not (self._starting and action in _DECISIONS)

    def action_preset(self, step: int) -> None:
        """Another preset, around the end."""
        if (match := self._match()) is not None and match.presets:
            at = match.presets.index(self._preset(match))
            self._take_preset(match.presets[(at + step) % len(match.presets)])

    def _take_preset(self, name: str) -> None:
        if (match := self._match()) is not None:
            self._presets[match.name] = name
            self._replan()

    def action_edit(self) -> None:
        """Change a setting."""
        if self._plan is not None:
            rows = {row.setting: row for row in self._plan.rows}
            self.app.push_screen(OverrideScreen(rows, self._ascii), self._on_override)

    def _on_override(self, changed: tuple[str, Any] | None) -> None:
        if changed is None:
            return
        name, value = changed
        if name == "data_dir":
            self.query_one("#data", Input).value = value
        else:
            self._overrides[name] = value
        self._replan()

    def action_reset(self) -> None:
        """Take back what was changed."""
        self._overrides.clear()
        self._replan()

    def action_explain(self) -> None:
        """The help."""
        self.app.push_screen(LauncherHelpScreen(self._ascii))

    def action_check(self) -> None:
        """Check the machine for what is chosen."""
        choice, machine = self._choice(), self._machine
        if choice is not None and machine is not None:
            self.app.push_screen(CheckScreen(partial(checked, machine, choice), self._palette, self._ascii))

    def action_calibrate(self) -> None:
        """Measure what is chosen."""
        plan, machine = self._plan, self._machine
        if plan is not None and machine is not None and self._ready():
            screen = CalibrateScreen(partial(measured, plan, machine), self._palette, self._ascii)
            self.app.push_screen(screen, self._on_calibrated)

    def _on_calibrated(self, made: bool | None) -> None:
        if made:
            self._asked = None
            self._replan()

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
        self._in_background(lambda: self.post_message(self._launched(plan)))

    def _launched(self, plan: Plan) -> Launched:
        try:
            warnings = (*plan.adjustments, *plan.warnings)
            return Launched(self._start_run(plan.config, plan.origins, warnings, plan.forecast), "")
        except FAULTS as error:
            return Launched(None, said(error))

    def on_launched(self, message: Launched) -> None:
        """On to the dashboard, or say what is wrong."""
        self._starting, self._error = False, message.error
        if message.run is not None:
            self._open(message.run)
        else:
            self._show()

    def _open(self, run: RunDir) -> None:
        # Pushed: Textual cannot switch away from an application's first screen.
        self._opened = True
        self.app.push_screen(DashboardScreen(launch.attach(run, outlined=True)))
