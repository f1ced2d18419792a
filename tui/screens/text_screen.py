"""A text to read over another screen."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from gputrain.engine.common.sanitize import plain


class TextScreen(ModalScreen[None]):
    """Scrolls; any of the usual keys closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter,f10,ctrl+c", "close", "close", priority=True)]

    def __init__(self, title: str, text: Text) -> None:
        super().__init__()
        self._title, self._text = title, text

    def compose(self) -> ComposeResult:
        """The text."""
        with VerticalScroll(classes="dialog wide") as dialog:
            dialog.border_title = Text(plain(self._title, 200)).markup
            dialog.border_subtitle = "Escape closes"
            yield Static(self._text)

    def action_close(self) -> None:
        """Back to the screen below."""
        self.dismiss(None)
