"""The runs of this user: look through them, and attach, stop, resume, clone, compare, mark or delete them."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen
from textual.widgets import DataTable, Static

from gputrain.engine.common.errors import EXIT_FINISHED
from gputrain.engine.common.sanitize import plain
from gputrain.engine.launching import launch
from gputrain.engine.runs.run_directory import RunDir, State
from gputrain.engine.runs.run_marks import read_marks
from gputrain.tui.actions import run_actions
from gputrain.tui.actions.compare_runs import Compared
from gputrain.tui.actions.launcher_choices import EXPECTED_ERRORS, said
from gputrain.tui.actions.run_list import ORDERS, Row, about, ordered, wanted
from gputrain.tui.actions.run_list_refresh import RunListing
from gputrain.tui.layout.key_bindings import bindings
from gputrain.tui.render.charset import wants_ascii
from gputrain.tui.render.styled_lines import to_ascii
from gputrain.tui.render.theme import palette
from gputrain.tui.screens.runs.runs_dialogs import ConfirmScreen, PromptScreen
from gputrain.tui.screens.runs.runs_help import KEYS, RunsHelpScreen
from gputrain.tui.widgets.key_bar import KeyBar
from gputrain.tui.widgets.panel import View
from gputrain.tui.widgets.runs_table import RunsTable

REFRESH_SECONDS = 2.0
_ENDINGS = "a file that ends in .csv, or with matplotlib in .png, .svg or .pdf"
_CHANGES = "settings to change: lr=0.05 epochs=20 (empty: none)"


class RunsScreen(Screen[None]):
    """A table of all runs, and what can be done with the one under the cursor, or with those that are chosen."""

    AUTO_FOCUS = "RunsTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(KEYS),
        Binding("ctrl+c", "leave", "quit", show=False, priority=True),
    ]

    class Listed(Message):
        """The runs as they are now."""

        def __init__(self, rows: list[Row]) -> None:
            super().__init__()
            self.rows = rows

    class Done(Message):
        """Something was done, or `failed`; `compared` is to be shown."""

        def __init__(self, text: str, failed: bool = False, compared: list[Compared] | None = None) -> None:
            super().__init__()
            self.text = text
            self.failed = failed
            self.compared = compared

    def __init__(self) -> None:
        super().__init__()
        self._ascii = wants_ascii()
        self._listing = RunListing()
        self._rows: list[Row] | None = None
        self._shown: list[Row] = []
        self._words = ""
        self._state = ""
        self._order = ORDERS[0]
        self._chosen: set[RunDir] = set()
        self._said_at: RunDir | None = None

    def compose(self) -> ComposeResult:
        """The table; below it, in one place, what was done or all about the run under the cursor; the keys."""
        yield Static("runs", id="head", markup=False)
        yield RunsTable(self._ascii)
        yield Static(id="about", markup=False)
        done = Static(id="said", markup=False)
        done.display = False
        yield done
        yield KeyBar(KEYS, id="keys")

    def on_mount(self) -> None:
        """Colours; look now, and again every two seconds."""
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self._restyle())
        self._restyle()
        self._look()
        self.set_interval(REFRESH_SECONDS, self._look)

    def _restyle(self) -> None:
        bar = self.query_one(KeyBar)
        bar.restyle(palette(self.app.current_theme, self.styles.background.rich_color, mono=self.app.no_color))
        bar.show(View(ascii=self._ascii))

    def on_screen_resume(self) -> None:
        """Back from a run or a dialog: much may have happened."""
        self._look()

    def _look(self) -> None:
        # A slow disk must not hold the screen; what nobody sees need not be read.
        if self.is_current and not any(thread.name == "runs" for thread in threading.enumerate()):
            threading.Thread(target=self._list, name="runs", daemon=True).start()

    def _list(self) -> None:
        self.post_message(self.Listed(self._listing.rows()))

    def on_runs_screen_listed(self, message: Listed) -> None:
        """Show what there is."""
        self._rows = message.rows
        self._chosen &= {row.info.run for row in self._rows}
        self._show()

    def _show(self) -> None:
        rows = self._rows or []
        self._shown = ordered(wanted(rows, self._words, self._state), self._order)
        self._table.show_rows(self._shown, self._chosen)
        of = f" of {len(rows)}" if len(self._shown) != len(rows) else ""
        state = f", {self._state}" if self._state else ""
        found = f", with '{plain(self._words, 40)}'" if self._words else ""
        chosen = f", {len(self._chosen)} chosen" if self._chosen else ""
        self._put("#head", f"{len(self._shown)}{of} runs by {self._order}{state}{found}{chosen}")
        self._tell()

    def _tell(self) -> None:
        """All about the run under the cursor: in a narrow window its line ends early."""
        current = self._current()
        row = next((row for row in self._shown if row.info.run == current), None)
        self._put("#about", about(row) if row is not None else "")

    def _put(self, where: str, text: str) -> None:
        static = self.query_one(where, Static)
        text = self._plain(text)
        if str(static.content) != text:
            static.update(text)

    def on_data_table_row_highlighted(self) -> None:
        """The cursor went on, or its line did."""
        if self._current() != self._said_at:
            self._say("")
        self._tell()

    def _plain(self, text: str) -> str:
        return to_ascii(text) if self._ascii else text

    @property
    def _table(self) -> RunsTable:
        return self.query_one(RunsTable)

    def _current(self) -> RunDir | None:
        """The run under the cursor."""
        return self._table.current

    def _those(self) -> list[RunDir]:
        """The chosen runs; without any, the one under the cursor."""
        chosen = [row.info.run for row in self._rows or [] if row.info.run in self._chosen]
        current = self._current()
        return chosen or ([current] if current is not None else [])

    # Work that takes a while, and its end.

    def _do(self, work: Callable[[], str | list[Compared]]) -> None:
        def attempt() -> None:
            try:
                result = work()
            except EXPECTED_ERRORS as error:
                self.post_message(self.Done(said(error), failed=True))
            else:
                self.post_message(self.Done(result) if isinstance(result, str) else self.Done("", compared=result))

        self._say("working …")
        threading.Thread(target=attempt, name="action", daemon=True).start()

    def on_runs_screen_done(self, message: Done) -> None:
        """Say it, and look again."""
        self._say(message.text, failed=message.failed)
        if message.compared is not None:
            from gputrain.tui.screens.runs.compare_screen import (
                CompareScreen,  # most who look at the list compare nothing
            )

            self.app.push_screen(CompareScreen(message.compared))
        self._look()

    def _say(self, text: str, *, failed: bool = False) -> None:
        """Until the cursor goes on. The table keeps its height: its lines stay where they are."""
        self._said_at = self._current()
        self.query_one("#said").display = bool(text)
        self.query_one("#about").display = not text
        self._put("#said", plain(f"{'not done: ' if failed else ''}{text}", 500))

    # The keys.

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter or a click on the run under the cursor."""
        self.action_attach()

    def action_attach(self) -> None:
        """Watch the run; Escape or q in its dashboard comes back."""
        if (run := self._current()) is not None:
            from gputrain.tui.screens.dashboard.dashboard import DashboardScreen  # its panels are of no use to the list

            self.app.push_screen(DashboardScreen(launch.attach(run, outlined=True), inner=True))

    def action_find(self) -> None:
        """Show only runs that hold some words."""

        def take(words: str | None) -> None:
            if words is not None:
                self._words = words
                self._show()

        self.app.push_screen(PromptScreen("Find", self._words, "words of id, name, tags, note or recipe"), take)

    def action_filter(self) -> None:
        """Show only runs in the next of the states that there are, or all again."""
        states = ["", *(state for state in State if wanted(self._rows or [], state=state))]
        at = states.index(self._state) + 1 if self._state in states else 0
        self._state = states[at % len(states)]
        self._show()

    def action_order(self) -> None:
        """Sort by the next of what can be sorted by."""
        self._order = ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)]
        self._show()

    def action_choose(self) -> None:
        """Choose the run for comparing or deleting, or no longer."""
        if (run := self._current()) is not None:
            self._chosen ^= {run}
            self._show()
            self._table.action_cursor_down()

    def action_stop(self) -> None:
        """Stop after a checkpoint, once that was confirmed."""
        if (run := self._current()) is not None:
            question = f"Stop {run.id} after a checkpoint?"
            self.app.push_screen(
                ConfirmScreen(question), lambda yes: self._do(lambda: run_actions.stop(run)) if yes else None
            )

    def action_resume(self) -> None:
        """Go on from a checkpoint."""
        if (run := self._current()) is not None:
            self._ask(
                f"Resume {run.id}",
                "from=last",
                "from=last, best or a step, and settings to change: epochs=20",
                lambda text: run_actions.resume(run, text),
                about=run_actions.checkpoints_of(run),
            )

    def action_clone(self) -> None:
        """Start a new run with this one's settings."""
        if (run := self._current()) is not None:
            self._ask(f"Clone {run.id}", "", _CHANGES, lambda text: run_actions.clone(run, text))

    def action_mark(self, what: str) -> None:
        """Change the name, the tags or the note."""
        if (run := self._current()) is None:
            return
        marks = read_marks(run)
        value, change = {
            "name": (marks.name, run_actions.rename),
            "tags": (" ".join(marks.tags), run_actions.tag),
            "note": (marks.note, run_actions.note),
        }[what]
        self._ask(f"{what.capitalize()} of {run.id}", value, "", lambda text: change(run, text))

    def _ask(self, title: str, value: str, placeholder: str, work: Callable[[str], str], about: str = "") -> None:
        def take(text: str | None) -> None:
            if text is not None:
                self._do(lambda: work(text.strip()))

        self.app.push_screen(PromptScreen(title, value, placeholder, about), take)

    def action_compare(self) -> None:
        """Show the chosen runs beside each other."""
        chosen = self._those()
        if len(chosen) < 2:
            self._say("choose two runs or more with the space bar first", failed=True)
            return
        self._do(lambda: run_actions.compare(chosen))

    def action_delete(self) -> None:
        """Delete the chosen runs, or the one under the cursor, once that was confirmed."""
        chosen = self._those()
        if not chosen:
            return
        what = chosen[0].id if len(chosen) == 1 else f"{len(chosen)} runs"

        def take(yes: bool | None) -> None:
            if yes:
                self._chosen.clear()
                self._do(lambda: run_actions.delete(chosen))

        self.app.push_screen(ConfirmScreen(f"Delete {what} with all files?"), take)

    def action_export(self) -> None:
        """Write the curves to a file."""
        if (run := self._current()) is not None:
            name = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', run.id).strip('-.')[:80] or 'run'}.csv"
            self._ask(f"Export the curves of {run.id}", name, _ENDINGS, lambda text: run_actions.export(run, text))

    def action_explain(self) -> None:
        """The help."""
        self.app.push_screen(RunsHelpScreen(self._ascii))

    def action_leave(self) -> None:
        """Go back to the launcher, or leave; runs go on."""
        if len(self.app.screen_stack) > 1:
            self.dismiss(None)
        else:
            self.app.exit(EXIT_FINISHED)
