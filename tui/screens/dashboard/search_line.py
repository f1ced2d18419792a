"""The line in which a text to search the log or the processes for is typed."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Input


class SearchScreen(ModalScreen[str]):
    """Returns the text; an empty one ends the search, Escape changes nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,ctrl+c", "cancel", "cancel", priority=True)]

    def __init__(self, text: str, what: str = "log lines") -> None:
        super().__init__()
        self._text, self._what = text, what

    def compose(self) -> ComposeResult:
        """One input at the bottom."""
        yield Input(self._text, placeholder=f"show {self._what} that hold …  (empty: all)", compact=True, id="search")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Search."""
        self.dismiss(event.value)

    def action_cancel(self) -> None:
        """Leave the search as it was."""
        self.dismiss(self._text)
