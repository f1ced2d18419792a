"""A dialog that shows a scrollable text."""

from __future__ import annotations

from typing import ClassVar

from rich.console import Console
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from gputrain.engine.common.sanitize import plain
from gputrain.tui.render.ascii_replacements import to_ascii


def with_hanging_indents(text: Text, columns: int, console: Console) -> Text:
    """`text` wrapped to `columns` cells; the rest of a long line starts below the text after its styled label."""
    wrapped = Text()
    for line in text.split("\n", allow_blank=True):
        label = next((span.end for span in line.spans if span.start == 0), 0)
        indent = label if label < min(len(line), columns // 2) else 0
        body = line[indent:].wrap(console, max(20, columns - indent)) if line.cell_len > columns else [line[indent:]]
        for number, part in enumerate(body):
            part.rstrip()
            wrapped.append_text(line[:indent] if not number else Text(" " * indent)).append_text(part).append("\n")
    wrapped.rstrip()
    return wrapped


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
            yield Static(self._text, id="text")

    def on_resize(self) -> None:
        """Wrap the text again once the dialog has its new width."""
        self.call_after_refresh(self._wrap)

    def _wrap(self) -> None:
        columns = self.query_one(VerticalScroll).scrollable_content_region.width
        self.query_one("#text", Static).update(with_hanging_indents(self._text, columns, self.app.console))

    def action_close(self) -> None:
        """Return to the screen below."""
        self.dismiss(None)
