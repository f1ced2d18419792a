"""The help of every screen: sections of keys, signs and columns, and the screen that shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType

from gputrain.tui.layout.key_table import Key
from gputrain.tui.screens.text_screen import TextScreen


def add_section(text: Text, title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Append a bold title, then a line per row: its first cell bold and padded to the longest, its second plain."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    text.append(f"{chr(10) if text.plain else ''}{title}\n", style="bold")
    for name, meaning in rows:
        text.append(f"  {name:<{width}}  ", style="bold").append(f"{meaning}\n")


def key_rows(keys: Sequence[Key]) -> list[tuple[str, str]]:
    """Each key as shown on screen, and what it does."""
    return [(key.shown, key.help) for key in keys]


class HelpScreen(TextScreen):
    """Shows a help text; the help keys close it, too."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("question_mark,f1,h", "close", "close")]

    def __init__(self, text: Text, ascii_only: bool) -> None:
        super().__init__("Help", text, ascii_only)
