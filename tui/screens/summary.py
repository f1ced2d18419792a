"""What a run came to, shown at its end until the person leaves."""

from __future__ import annotations

from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from gputrain.engine.text import plain
from gputrain.tui.snapshot import Snapshot
from gputrain.tui.summary import summary, summary_rows


class SummaryScreen(ModalScreen[bool]):
    """The summary over the dashboard. Returns whether to leave; Escape only closes it, to look at the curves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,f10,enter", "close(True)", "quit"),
        Binding("ctrl+c", "close(True)", show=False, priority=True),
        Binding("escape", "close(False)", "look at the dashboard"),
    ]

    def __init__(self, now: Snapshot, directory: str) -> None:
        super().__init__()
        self._rows = summary_rows(summary(now), directory)
        self._title = "The run has ended"

    def compose(self) -> ComposeResult:
        """Titles and values."""
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for title, value in self._rows:
            table.add_row(title, Text(plain(value, 2000)))
        with VerticalScroll(classes="dialog wide fit") as dialog:
            dialog.border_title = self._title
            dialog.border_subtitle = "q quit · Escape: look at the curves"
            yield Static(table)

    def action_close(self, leave: bool) -> None:
        """Close, and leave or stay."""
        self.dismiss(leave)
