"""The layout of the launcher: choices on the left, the plan on the right, start button and verdict below."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.screen import Screen
from textual.widgets import Button, Static

from gputrain.engine.planning.plan import Plan
from gputrain.profiles.catalog import Match
from gputrain.tui.actions.launcher_selection import OWN_COMMAND, Selection
from gputrain.tui.layout.smallest_window import SMALLEST, too_small
from gputrain.tui.layout.textual_bindings import bindings
from gputrain.tui.render.charset import wants_ascii
from gputrain.tui.render.launcher_lines import (
    OWN_COMMAND_LINE,
    OWN_COMMAND_READY,
    OWN_COMMAND_TEXT,
    STARTING,
    machine_line,
    profile_lines,
    recipe_line,
    verdict,
    waiting_for,
)
from gputrain.tui.render.styled_lines import Line, Span, line
from gputrain.tui.render.theme import Palette, palette
from gputrain.tui.screens.launcher.launcher_keys import KEYS
from gputrain.tui.widgets.key_bar import KeyBar
from gputrain.tui.widgets.launcher_choices_view import LauncherChoices
from gputrain.tui.widgets.menu import as_text
from gputrain.tui.widgets.panel import View
from gputrain.tui.widgets.plan_view import PlanView


class LauncherView(Screen[None]):
    """Shows the state of the launcher. The subclass changes that state."""

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
        Binding("left", "preset(-1)", "previous preset", show=False),
        Binding("ctrl+c", "leave", "quit", show=False, priority=True),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._ascii = wants_ascii()
        self._palette: Palette = {}
        self._selection = Selection()
        self._plan: Plan | None = None
        self._error = ""
        self._starting = False

    def compose(self) -> ComposeResult:
        """Compose the widgets; the style sheet places them by the size of the window."""
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
        """Apply the colors of the theme, now and whenever it changes."""
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self._restyle())
        self._restyle()

    def on_resize(self) -> None:
        """Prepare the text that is shown if the window is too small."""
        self.query_one("#too_small", Static).update(self._text(line((too_small(*self.app.size), "warn"))))

    def _restyle(self) -> None:
        background = self.styles.background.rich_color
        self._palette = palette(self.app.current_theme, background, mono=self.app.no_color)
        bar = self.query_one(KeyBar)
        bar.restyle(self._palette)
        bar.show(View(ascii=self._ascii))
        self._fill()

    def _text(self, *lines: Line) -> Text:
        return as_text(lines, self._palette, self._ascii)

    @property
    def _choices(self) -> LauncherChoices:
        return self.query_one(LauncherChoices)

    def _match(self) -> Match | None:
        """The chosen profile."""
        return self._selection.profile(self._choices.profile)

    def _fill(self) -> None:
        """Fill the lists of profiles and recipes, and show the rest."""
        selection = self._selection
        profiles = [(match.name, self._text(*profile_lines(match))) for match in selection.profiles]
        self._choices.fill_profiles(profiles, selection.first_profile)
        recipes = [(entry.name, self._text(recipe_line(entry))) for entry in selection.recipes]
        recipes[:0] = [(OWN_COMMAND, self._text(OWN_COMMAND_LINE))] if recipes else []
        self._choices.fill_recipes(recipes, selection.first_recipe)
        self._show()

    def _show(self) -> None:
        """Show machine, presets, plan and verdict as they are now."""
        match, machine = self._match(), self._selection.machine
        self.query_one("#head", Static).update(self._text(machine_line(machine)))
        presets = match.presets if match else ()
        chosen = self._selection.preset(match) if match else ""
        self._choices.presets.show(presets, chosen, self._palette, self._ascii)
        waiting: Span = (self._error, "bad") if self._error else waiting_for(machine)
        if self._own_command:
            waiting = OWN_COMMAND_TEXT
        self.query_one("#plan", PlanView).show(self._plan, waiting, self._palette, self._ascii)
        status = verdict(self._plan, self._error, machine)
        if self._starting or (self._own_command and not self._error):
            status = STARTING if self._starting else OWN_COMMAND_READY
        self.query_one("#verdict", Static).update(self._text(line(status)))
        self.query_one("#start", Button).disabled = not self._ready()
        overrides = self._selection.overrides
        self.query_one("#plan").border_subtitle = f"{len(overrides)} changed by you" if overrides else ""

    def _ready(self) -> bool:
        """Whether Enter does something now: start the plan, or open the form."""
        return (self._own_command or self._plannable()) and not self._starting

    @property
    def _own_command(self) -> bool:
        """Whether a command of the user's own is chosen instead of a recipe."""
        return self._choices.recipe == OWN_COMMAND

    def _plannable(self) -> bool:
        """Whether there is a plan that can be started."""
        return self._plan is not None and not self._plan.refuses
