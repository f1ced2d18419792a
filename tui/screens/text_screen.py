"""A dialog that shows a scrollable text."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from gputrain.engine.common.sanitize import plain
from gputrain.tui.render.styled_lines import to_ascii


class TextScreen(ModalScreen[None]):
    """Shows `text`; Escape, q, Enter, F10 and Ctrl-C close it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter,f10,ctrl+c", "close", "close", priority=True)]

    def __init__(self, title: str, text: Text, ascii_only: bool) -> None:
        super().__init__()
        if ascii_only:
            # Replaced cell by cell, so that the styles stay in place.
            text.plain = to_ascii(text.plain)
        self._title, self._text = title, text

    def compose(self) -> ComposeResult:
        """Compose the text in a scrollable box."""
        with VerticalScroll(classes="dialog wide") as dialog:
            dialog.border_title = Text(plain(self._title, 200)).markup
            dialog.border_subtitle = "Escape: close"
            yield Static(self._text)

    def action_close(self) -> None:
        """Return to the screen below."""
        self.dismiss(None)
