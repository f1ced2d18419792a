"""Every key and every figure explained, from the tables that the screen itself is made from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from gputrain.tui.keys import Key
from gputrain.tui.lines import to_ascii
from gputrain.tui.metrics import METRICS


def help_text(keys: Sequence[Key], panels: Collection[str], ascii_only: bool) -> Text:
    """The help on `keys`, and on the figures of `panels` and of the curves."""
    text = _help(keys, panels)
    if ascii_only:
        # Replaced cell by cell, so the styles stay where they are.
        text.plain = to_ascii(text.plain)
    return text


def _help(keys: Sequence[Key], panels: Collection[str]) -> Text:
    text = Text()
    text.append("Keys\n", style="bold")
    for key in keys:
        text.append(f"  {key.shown:<7}", style="bold")
        text.append(f"{key.help}\n")
    text.append("  The mouse: a click chooses a panel or presses a key below, a double click is full screen.\n")
    if "log" in panels:
        text.append("  ↑ ↓ PgUp PgDn Home End  scroll the log; the mouse wheel does too.\n")
    if "hints" in panels:
        text.append("\nHints\n", style="bold")
        text.append("  What is wrong, how that is known, and → what to do. ● note, ▲ warning, ▲ critical.\n")
    explained = [metric for metric in METRICS.values() if metric.panel in panels]
    for panel, metrics in groupby(explained, key=lambda metric: metric.panel):
        text.append(f"\n{panel.capitalize()}\n", style="bold")
        for metric in metrics:
            unit = f" [{metric.unit}]" if metric.unit else ""
            text.append(f"  {metric.title}{unit}  ", style="bold")
            text.append(f"{metric.help}\n")
            text.append(f"      from: {metric.source}\n", style="dim")
            if metric.advice:
                text.append(f"      good: {metric.advice}\n")
    return text


class HelpScreen(ModalScreen[None]):
    """The help; any of the usual keys closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1,h,f10", "close", "close"),
        Binding("ctrl+c", "close", show=False, priority=True),
    ]

    def __init__(self, keys: Sequence[Key], panels: Collection[str], ascii_only: bool) -> None:
        super().__init__()
        self._text = help_text(keys, panels, ascii_only)

    def compose(self) -> ComposeResult:
        """One scrollable text."""
        with VerticalScroll(classes="dialog wide") as dialog:
            dialog.border_title = "Help"
            dialog.border_subtitle = "Escape closes"
            yield Static(self._text)

    def action_close(self) -> None:
        """Back to the dashboard."""
        self.dismiss(None)
