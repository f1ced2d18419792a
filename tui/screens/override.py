"""The dialog in which one setting is changed: ``name=value``, checked before it is taken."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.suggester import SuggestFromList
from textual.widgets import Input, Static

from gputrain.engine import settings
from gputrain.engine.errors import BadInput
from gputrain.engine.text import plain


class OverrideScreen(ModalScreen[tuple[str, Any] | None]):
    """Returns the setting and its value; None if it was left with Escape."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,ctrl+c", "cancel", "cancel", priority=True)]

    def compose(self) -> ComposeResult:
        """One input, and below it what the setting is for or what is wrong with the value."""
        with Vertical(classes="dialog wide") as dialog:
            dialog.border_title = "Change a setting"
            dialog.border_subtitle = "→ completes the name, Enter takes it, Escape leaves it"
            names = [f"{name}=" for name in settings.table()]
            yield Input(placeholder="batch_size=64", suggester=SuggestFromList(names), compact=True, id="override")
            yield Static(id="about")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say what the setting is for, as soon as its name is known."""
        setting = settings.table().get(event.value.partition("=")[0].strip())
        choices = f"  ({', '.join(setting.choices)})" if setting is not None and setting.choices else ""
        self._say(f"{setting.name}: {setting.description}{choices}" if setting is not None else "", "dim")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take it, or say why not."""
        try:
            self.dismiss(settings.parse_override(event.value.strip()))
        except BadInput as error:
            self._say(str(error), "red")

    def _say(self, text: str, style: str) -> None:
        self.query_one("#about", Static).update(Text(plain(text, 400), style))

    def action_cancel(self) -> None:
        """Change nothing."""
        self.dismiss(None)
