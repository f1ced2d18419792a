"""The input line for a search in the log or in the processes."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Input


class SearchScreen(ModalScreen[str]):
    """Returns the search text; empty ends the search, Escape keeps the old one."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,ctrl+c", "cancel", "cancel", priority=True)]

    def __init__(self, text: str, what: str = "log lines") -> None:
        super().__init__()
        self._text, self._what = text, what

    def compose(self) -> ComposeResult:
        """Compose one input at the bottom."""
        yield Input(
            self._text, placeholder=f"show {self._what} that contain …  (empty: all)", compact=True, id="search"
        )

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Return the text."""
        self.dismiss(event.value)

    def action_cancel(self) -> None:
        """Keep the search unchanged."""
        self.dismiss(self._text)
