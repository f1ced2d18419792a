"""The list of runs on a screen: refreshed, filtered, sorted, with selected rows. Base of the runs screen."""

from __future__ import annotations

import threading
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from gputrain.engine.common.sanitize import plain
from gputrain.engine.runs.run_directory import RunDir, State
from gputrain.tui.actions.run_list import ORDERS, Row, about, ordered, wanted
from gputrain.tui.actions.run_list_refresh import RunListing
from gputrain.tui.layout.textual_bindings import bindings
from gputrain.tui.render.ascii_replacements import to_ascii
from gputrain.tui.render.charset import wants_ascii
from gputrain.tui.render.theme import palette
from gputrain.tui.screens.runs.runs_dialogs import PromptScreen
from gputrain.tui.screens.runs.runs_keys import KEYS
from gputrain.tui.widgets.key_bar import KeyBar
from gputrain.tui.widgets.panel import View
from gputrain.tui.widgets.runs_table import RunsTable

REFRESH_SECONDS = 2.0


class RunTableScreen(Screen[None]):
    """A table of all runs, a line with the details of the highlighted run or a message, and the key bar."""

    AUTO_FOCUS = "RunsTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(KEYS),
        Binding("ctrl+c", "leave", "quit", show=False, priority=True),
    ]

    class Listed(Message):
        """All runs, read just now."""

        def __init__(self, rows: list[Row]) -> None:
            super().__init__()
            self.rows = rows

    def __init__(self) -> None:
        super().__init__()
        self._ascii = wants_ascii()
        self._listing = RunListing()
        self._rows: list[Row] | None = None
        self._shown: list[Row] = []
        self._search = ""
        self._state = ""
        self._order = ORDERS[0]
        self._selected: set[RunDir] = set()
        self._message_run: RunDir | None = None
        """The run that was highlighted when the message appeared."""

    def compose(self) -> ComposeResult:
        """Compose the head line, the table, details and message (one of them is visible), and the key bar."""
        yield Static("runs", id="head", markup=False)
        yield RunsTable(self._ascii)
        yield Static(id="about", markup=False)
        message = Static(id="message", markup=False)
        message.display = False
        yield message
        yield KeyBar(KEYS, id="keys")

    def on_mount(self) -> None:
        """Apply the colors; read the runs now and every two seconds."""
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self._restyle())
        self._restyle()
        self._reload()
        self.set_interval(REFRESH_SECONDS, self._reload)

    def _restyle(self) -> None:
        bar = self.query_one(KeyBar)
        bar.restyle(palette(self.app.current_theme, self.styles.background.rich_color, mono=self.app.no_color))
        bar.show(View(ascii=self._ascii))

    def on_screen_resume(self) -> None:
        """Read the runs again after a dashboard or a dialog closed."""
        self._reload()

    def _reload(self) -> None:
        # On a thread, because the disk may be slow; not at all while another screen covers this one.
        if self.is_current and not any(thread.name == "runs" for thread in threading.enumerate()):
            threading.Thread(target=self._list, name="runs", daemon=True).start()

    def _list(self) -> None:
        self.post_message(self.Listed(self._listing.rows()))

    def on_run_table_screen_listed(self, message: Listed) -> None:
        """Show the runs."""
        self._rows = message.rows
        self._selected &= {row.info.run for row in self._rows}
        self._show_rows()

    def _show_rows(self) -> None:
        rows = self._rows or []
        self._shown = ordered(wanted(rows, self._search, self._state), self._order)
        self._table.show_rows(self._shown, self._selected)
        count, noun = len(self._shown), "run" if len(rows) == 1 else "runs"
        of = f" of {len(rows)}" if len(self._shown) != len(rows) else ""
        state = f", {self._state}" if self._state else ""
        search = f", with '{plain(self._search, 40)}'" if self._search else ""
        selected = f", {len(self._selected)} selected" if self._selected else ""
        self._set_text("#head", f"{count}{of} {noun} sorted by {self._order}{state}{search}{selected}")
        self._show_details()

    def _show_details(self) -> None:
        """Show all details of the highlighted run: its table row is cut in a narrow window."""
        current = self._current()
        row = next((row for row in self._shown if row.info.run == current), None)
        self._set_text("#about", about(row) if row is not None else "")

    def _show_message(self, text: str, *, failed: bool = False) -> None:
        """Show `text` instead of the details until the highlight moves."""
        self._message_run = self._current()
        self.query_one("#message").display = bool(text)
        self.query_one("#about").display = not text
        self._set_text("#message", plain(f"{'failed: ' if failed else ''}{text}", 500))

    def _set_text(self, selector: str, text: str) -> None:
        static = self.query_one(selector, Static)
        text = to_ascii(text) if self._ascii else text
        if str(static.content) != text:
            static.update(text)

    def on_data_table_row_highlighted(self) -> None:
        """Hide the message once another run is highlighted, and show the details."""
        if self._current() != self._message_run:
            self._show_message("")
        self._show_details()

    @property
    def _table(self) -> RunsTable:
        return self.query_one(RunsTable)

    def _current(self) -> RunDir | None:
        """The highlighted run."""
        return self._table.current

    def _targets(self) -> list[RunDir]:
        """The selected runs; without any, the highlighted one."""
        selected = [row.info.run for row in self._rows or [] if row.info.run in self._selected]
        current = self._current()
        return selected or ([current] if current is not None else [])

    def action_find(self) -> None:
        """Ask for words, and show only runs that contain them."""

        def search(words: str | None) -> None:
            if words is not None:
                self._search = words
                self._show_rows()

        self.app.push_screen(PromptScreen("Find", self._search, "words of id, name, tags, note or recipe"), search)

    def action_filter(self) -> None:
        """Show only runs in the next state that any run has; after the last state show all."""
        states = ["", *(state for state in State if wanted(self._rows or [], state=state))]
        at = states.index(self._state) + 1 if self._state in states else 0
        self._state = states[at % len(states)]
        self._show_rows()

    def action_order(self) -> None:
        """Sort by the next column."""
        self._order = ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)]
        self._show_rows()

    def action_choose(self) -> None:
        """Select or deselect the highlighted run, and move to the next one."""
        if (run := self._current()) is not None:
            self._selected ^= {run}
            self._show_rows()
            self._table.action_cursor_down()
