"""The dialog that changes one setting: find the setting, type a value, validate it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.settings import Setting
from gputrain.engine.planning.plan import PlanRow
from gputrain.tui.render.ascii_replacements import to_ascii
from gputrain.tui.render.styled_lines import cut, pad

MENUS = ("recipe", "profile", "preset")
"""Settings that the lists of the launcher choose; the dialog leaves them out."""


def matching(text: str) -> list[Setting]:
    """Settings whose name contains every word of `text`, those that begin with it first; if none does, those whose
    description does."""
    needles = text.lower().replace("_", " ").split()
    known = [setting for setting in settings.table().values() if setting.name not in MENUS]
    named = [s for s in known if all(needle in s.name.replace("_", " ") for needle in needles)]
    if needles:
        named.sort(key=lambda setting: not setting.name.startswith(needles[0]))
    return named or [s for s in known if all(needle in s.description.lower() for needle in needles)]


def allowed(setting: Setting) -> str:
    """The allowed values of a setting as text."""
    if setting.choices:
        return " | ".join(setting.choices)
    return {bool: "true | false", int: "a whole number", float: "a number", str: "a text"}[setting.kind]


class SettingScreen(ModalScreen[tuple[str, Any]]):
    """Returns the name of a setting and its validated value; None if the user goes back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "back", priority=True),
        Binding("ctrl+c", "close", show=False, priority=True),
        Binding("up", "move(-1)", show=False, priority=True),
        Binding("down", "move(1)", show=False, priority=True),
    ]

    def __init__(self, rows: Mapping[str, PlanRow], ascii_only: bool) -> None:
        super().__init__()
        self._rows = rows
        self._ascii = ascii_only
        self._found: list[Setting] = []

    def compose(self) -> ComposeResult:
        """Compose filter, list of settings, description, value and error."""
        with Vertical(classes="dialog wide", id="override") as dialog:
            dialog.border_title = "Change a setting"
            dialog.border_subtitle = "Enter: next · Escape: back"
            yield Input(placeholder="part of a name: batch, lr, cache …", compact=True, id="filter")
            yield OptionList(markup=False, id="settings")
            yield Static(markup=False, id="about")
            yield Input(placeholder="value", compact=True, id="value")
            yield Static(markup=False, id="fault")

    def on_mount(self) -> None:
        """Focus the filter. The list never gets the focus: up and down work in the filter."""
        self.query_one("#settings", OptionList).can_focus = False
        self.query_one("#filter", Input).focus()
        # An empty field posts no change.
        self._fill("")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Apply a changed filter; clear the error when anything was typed."""
        if event.input.id == "filter":
            self._fill(event.value)
        self.query_one("#fault", Static).update("")

    def _fill(self, text: str) -> None:
        """List the settings that match `text`."""
        self._found = matching(text)
        menu = self.query_one("#settings", OptionList)
        menu.clear_options()
        menu.add_options([Option(self._row(setting)) for setting in self._found])
        menu.highlighted = 0 if self._found else None
        self._show_description()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Show the description of the setting."""
        self._show_description()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Edit the clicked setting."""
        self._edit()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go from the filter to the value; from the value back to the plan if the value is valid."""
        if event.input.id == "filter":
            self._edit()
        elif (setting := self._setting()) is not None:
            try:
                self.dismiss(settings.parse_override(f"{setting.name}={event.value}"))
            except BadInput as error:
                self._show_error(str(error))

    def action_back(self) -> None:
        """Go from the value to the filter, from the filter to the plan."""
        if self.query_one("#value", Input).has_focus:
            self.query_one("#filter", Input).focus()
        else:
            self.dismiss(None)

    def action_close(self) -> None:
        """Return to the plan."""
        self.dismiss(None)

    def action_move(self, step: int) -> None:
        """Highlight another setting; does nothing while a value is being typed."""
        if self._found and not self.query_one("#value", Input).has_focus:
            menu = self.query_one("#settings", OptionList)
            menu.highlighted = ((menu.highlighted or 0) + step) % len(self._found)

    def _setting(self) -> Setting | None:
        at = self.query_one("#settings", OptionList).highlighted
        return self._found[at] if at is not None and at < len(self._found) else None

    def _edit(self) -> None:
        if (setting := self._setting()) is None:
            self._show_error("no setting matches; clear the filter to list all")
            return
        value = self.query_one("#value", Input)
        value.value = plain(self._rows[setting.name].value, 400)
        value.focus()
        value.select_all()

    def _row(self, setting: Setting) -> Text:
        row = self._rows[setting.name]
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(self._shown(pad(setting.name, 22)), "bold")
        text.append(self._shown(pad(plain(row.value, 60), 24)))
        text.append(self._shown(cut(plain(row.origin, 60), 40)), "dim")
        return text

    def _show_description(self) -> None:
        setting = self._setting()
        about = f"{setting.name}: {setting.description} ({allowed(setting)})" if setting else "no setting matches"
        self.query_one("#about", Static).update(Text(self._shown(about), "dim"))

    def _show_error(self, error: str) -> None:
        self.query_one("#fault", Static).update(Text(self._shown(f"■ {plain(error, 600)}")))

    def _shown(self, text: str) -> str:
        return to_ascii(text) if self._ascii else text
