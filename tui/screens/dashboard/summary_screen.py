"""The summary of a run, shown when it has ended."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from gputrain.engine.common.sanitize import plain
from gputrain.tui.render.ascii_replacements import to_ascii
from gputrain.tui.state.run_summary import summary, summary_rows
from gputrain.tui.widgets.panel import View


class SummaryScreen(ModalScreen[bool]):
    """Shows the summary over the dashboard. Returns whether to leave the run; Escape only closes the summary."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,f10,enter", "close(True)", "quit"),
        Binding("ctrl+c", "close(True)", show=False, priority=True),
        Binding("escape", "close(False)", "back to the dashboard"),
    ]

    def __init__(self, view: View, directory: Path, *, inner: bool = False) -> None:
        """`inner`: leaving returns to the screen below the dashboard."""
        super().__init__()
        self._inner = inner
        shown = to_ascii if view.ascii else str
        rows = summary_rows(summary(view.now), str(directory))
        self._rows = [(title, shown(plain(value, 2000))) for title, value in rows]

    def compose(self) -> ComposeResult:
        """Compose the table of titles and values."""
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for title, value in self._rows:
            table.add_row(title, Text(value))
        with VerticalScroll(classes="dialog wide fit") as dialog:
            dialog.border_title = "The run has ended"
            dialog.border_subtitle = f"q: {'back' if self._inner else 'quit'} · Escape: dashboard"
            yield Static(table)

    def action_close(self, leave: bool) -> None:
        """Close the summary; `leave` closes the dashboard, too."""
        self.dismiss(leave)
