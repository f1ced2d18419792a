"""The first screen: what to run, with which profile, and what that will take, before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Input, OptionList, Static
from textual.widgets.option_list import Option

from gputrain.engine import launch, runs
from gputrain.engine.config import RunConfig
from gputrain.engine.errors import BadInput
from gputrain.engine.machine import Machine, inspect_machine
from gputrain.engine.plan import Plan
from gputrain.engine.runs import RunDir, RunInfo
from gputrain.engine.text import plain
from gputrain.profiles import catalog
from gputrain.profiles.catalog import Entry, Match
from gputrain.profiles.choose import choose
from gputrain.tui.planview import plan_text
from gputrain.tui.screens.attach import AttachScreen
from gputrain.tui.screens.dashboard import DashboardScreen
from gputrain.tui.screens.override import OverrideScreen

Launch = Callable[[RunConfig, dict[str, str], Sequence[str]], RunDir]
_FIRST_RECIPE = "demo"


class LauncherScreen(Screen[None]):
    """Menus on the left, the plan beside them; every choice plans anew."""

    AUTO_FOCUS = "#profiles"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 - as Textual declares it
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "start", "start", priority=True),
        Binding("tab", "app.focus_next", "next list", show=True),
        Binding("p", "next_preset", "preset"),
        Binding("e", "edit", "change a setting"),
        Binding("r", "reset", "undo changes"),
        Binding("q,f10", "leave", "quit"),
        Binding("ctrl+c", "leave", "quit", show=False, priority=True),
    ]

    def __init__(
        self,
        look: Callable[[], Machine] = inspect_machine,
        start: Launch = launch.launch,
        listed: Callable[[], list[RunInfo]] = runs.list_runs,
    ) -> None:
        super().__init__()
        self._look, self._launch, self._listed = look, start, listed
        self._machine: Machine | None = None
        self._matches: list[Match] = []
        self._recipes: tuple[Entry, ...] = ()
        self._preset = ""
        self._own: dict[str, Any] = {}
        self._starting = False
        self.plan: Plan | None = None
        """What Enter would start; None while nothing can be planned."""

    def compose(self) -> ComposeResult:
        """Profiles, preset, recipes and data on the left, the plan on the right."""
        with Horizontal(id="launcher"):
            with Vertical(id="menus"):
                profiles = OptionList(id="profiles")
                profiles.border_title = "Hardware profile"
                yield profiles
                preset = Static(id="preset")
                preset.border_title = "Preset"
                yield preset
                recipes = OptionList(id="recipes")
                recipes.border_title = "Recipe"
                yield recipes
                data = Input(placeholder="the recipe's own; or a folder with train/ and val/", compact=True, id="data")
                data.border_title = "Data"
                yield data
            with VerticalScroll(id="plan") as scroll:
                scroll.border_title = "Plan"
                yield Static("looking at this machine …", id="plan-text")
        yield Static(id="said")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Look at the machine and for live runs, both on a thread."""
        self._inspect()
        self._find_live()

    @work(thread=True, group="machine")
    def _inspect(self) -> None:
        machine = self._look()
        ranked, recipes = catalog.rank(machine), catalog.recipe_entries()
        self.app.call_from_thread(self._fill, machine, ranked, recipes)

    def _fill(self, machine: Machine, ranked: list[Match], recipes: tuple[Entry, ...]) -> None:
        self._machine = machine
        # Profiles of other cards are of use only where there is such a card; they stay reachable below.
        self._matches = [match for match in ranked if not match.error]
        self._recipes = tuple(entry for entry in recipes if not entry.error)
        profiles, menu = self.query_one("#profiles", OptionList), self.query_one("#recipes", OptionList)
        profiles.add_options(Option(_profile_line(match)) for match in self._matches)
        menu.add_options(Option(_recipe_line(entry)) for entry in self._recipes)
        profiles.highlighted = 0
        menu.highlighted = next((i for i, e in enumerate(self._recipes) if e.name == _FIRST_RECIPE), 0)
        faults = [m.error for m in ranked if m.error] + [e.error for e in recipes if e.error]
        if faults:
            self._say(f"left out: {faults[0]}", failed=True)
        self._replan()

    @work(thread=True, group="runs")
    def _find_live(self) -> None:
        live = [info for info in self._listed() if info.status is not None and not info.status.state.over]
        if live:
            self.app.call_from_thread(self._offer, live)

    def _offer(self, live: list[RunInfo]) -> None:
        self.app.push_screen(AttachScreen(live), lambda run: self._open(run) if run is not None else None)

    # Choices.

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """The cursor is the choice."""
        if event.option_list.id == "profiles":
            self._preset = ""
        self._replan()

    def on_input_changed(self) -> None:
        """The data folder was typed."""
        self._replan()

    def action_next_preset(self) -> None:
        """The profile's next preset."""
        match = self._match()
        if match is not None and match.presets:
            now = match.presets.index(self._preset or match.default_preset)
            self._preset = match.presets[(now + 1) % len(match.presets)]
            self._replan()

    def action_edit(self) -> None:
        """Ask for a setting and its value."""

        def take(answer: tuple[str, Any] | None) -> None:
            if answer is not None:
                self._own[answer[0]] = answer[1]
                self._replan()

        self.app.push_screen(OverrideScreen(), take)

    def action_reset(self) -> None:
        """Undo what was changed by hand."""
        self._own.clear()
        self.query_one("#data", Input).value = ""
        self._replan()

    def _match(self) -> Match | None:
        chosen = self.query_one("#profiles", OptionList).highlighted
        return self._matches[chosen] if chosen is not None and self._matches else None

    def _recipe(self) -> str:
        chosen = self.query_one("#recipes", OptionList).highlighted
        return self._recipes[chosen].name if chosen is not None and self._recipes else _FIRST_RECIPE

    def _replan(self) -> None:
        match = self._match()
        if self._machine is None or match is None:
            return
        presets = [(f" {n} ", "reverse" if n == (self._preset or match.default_preset) else "") for n in match.presets]
        self.query_one("#preset", Static).update(Text.assemble(*presets))
        shown = self.query_one("#plan-text", Static)
        folder = self.query_one("#data", Input).value.strip()
        own = dict(self._own) | ({"dataset": "imagefolder"} if folder else {})
        try:
            self.plan = choose(
                self._machine,
                recipe=self._recipe(),
                # The best for this machine is the machine's choice, not the person's.
                profile=None if match is self._matches[0] else match.name,
                preset=self._preset or None,
                overrides=own,
                data_dir=str(Path(folder).expanduser()) if folder else None,
            )
        except BadInput as error:
            self.plan = None
            shown.update(Text(f"✖ {plain(str(error), 400)}", "bold red"))
            return
        shown.update(plan_text(self.plan, self.query_one("#plan").size.width))

    # Starting.

    def action_start(self) -> None:
        """Launch the plan, unless it cannot run."""
        if self.plan is None or self._starting:
            return
        if self.plan.refuses:
            self._say(f"cannot start: {self.plan.refuses[0]}", failed=True)
            return
        self._starting = True
        self._say("starting …")
        self._start(self.plan)

    @work(thread=True, group="start")
    def _start(self, plan: Plan) -> None:
        try:
            run = self._launch(plan.config, plan.origins, (*plan.adjustments, *plan.warnings))
        except (BadInput, RuntimeError, OSError) as error:
            self.app.call_from_thread(self._not_started, str(error))
            return
        self.app.call_from_thread(self._open, run)

    def _not_started(self, why: str) -> None:
        self._starting = False
        self._say(f"not started: {why}", failed=True)

    def _open(self, run: RunDir) -> None:
        # Pushed, not switched to: the application's first screen cannot be taken away.
        self.app.push_screen(DashboardScreen(launch.attach(run)))

    def _say(self, text: str, *, failed: bool = False) -> None:
        self.query_one("#said", Static).update(Text(plain(text, 400), "bold red" if failed else ""))

    def action_leave(self) -> None:
        """Leave without starting anything."""
        self.app.exit(0)


def _profile_line(match: Match) -> Text:
    mark = "● " if match.detected else "  "
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(mark + plain(match.name, 40), "bold" if match.detected else "")
    line.append(f"  {'detected: ' if match.detected else ''}{plain(match.reason, 120)}", "dim")
    return line


def _recipe_line(entry: Entry) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(plain(entry.name, 40))
    line.append(f"  {plain(entry.title, 120)}", "dim")
    return line
