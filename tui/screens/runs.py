"""The runs of this user: look through them, and attach, stop, resume, clone, compare, mark or delete them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.coordinate import Coordinate
from textual.message import Message
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Static

from gputrain.engine import launch, runs
from gputrain.engine.errors import EXIT_FINISHED
from gputrain.engine.marks import read_marks
from gputrain.engine.runs import RunDir
from gputrain.engine.text import plain
from gputrain.tui import runactions
from gputrain.tui.charset import wants_ascii
from gputrain.tui.choosing import FAULTS, said
from gputrain.tui.lines import to_ascii
from gputrain.tui.runlist import HEADER, ORDERS, Row, cells, ordered, wanted
from gputrain.tui.screens.runs_dialogs import ConfirmScreen, PromptScreen
from gputrain.tui.screens.text import TextScreen

REFRESH_SECONDS = 2.0
_CHANGES = "settings to change: lr=0.05 epochs=20 (empty: none)"


class RunsScreen(Screen[None]):
    """A table of all runs, and what can be done with the one under the cursor, or with those that are chosen."""

    AUTO_FOCUS = "DataTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "attach", "watch", priority=False),
        Binding("slash", "find", "find", key_display="/"),
        Binding("o", "order", "sort"),
        Binding("space", "choose", "choose"),
        Binding("s", "stop", "stop"),
        Binding("r", "resume", "resume"),
        Binding("l", "clone", "clone"),
        Binding("c", "compare", "compare"),
        Binding("n", "mark('name')", "name"),
        Binding("t", "mark('tags')", "tags"),
        Binding("e", "mark('note')", "note"),
        Binding("d,delete", "delete", "delete", key_display="d"),
        Binding("q,escape,f10,ctrl+c", "leave", "quit", key_display="q", priority=False),
    ]

    class Listed(Message):
        """The runs as they are now."""

        def __init__(self, rows: list[Row]) -> None:
            super().__init__()
            self.rows = rows

    class Done(Message):
        """Something was done, or `failed`."""

        def __init__(self, text: str, failed: bool = False, lines: list[str] | None = None) -> None:
            super().__init__()
            self.text = text
            self.failed = failed
            self.lines = lines

    def __init__(self) -> None:
        super().__init__()
        self._ascii = wants_ascii()
        self._rows: list[Row] = []
        self._shown: list[Row] = []
        self._words = ""
        self._order = ORDERS[0]
        self._chosen: set[str] = set()

    def compose(self) -> ComposeResult:
        """The table, a line for what was done, and the keys."""
        yield Static("runs", id="head", markup=False)
        yield DataTable(cursor_type="row", zebra_stripes=False)
        yield Static(id="said", markup=False)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Look now, and again every two seconds."""
        self.query_one(DataTable).add_columns("", *HEADER)
        self._look()
        self.set_interval(REFRESH_SECONDS, self._look)

    def _look(self) -> None:
        # A slow disk must not hold the screen.
        if not any(thread.name == "runs" for thread in threading.enumerate()):
            threading.Thread(target=self._list, name="runs", daemon=True).start()

    def _list(self) -> None:
        self.post_message(self.Listed([Row(info, read_marks(info.run)) for info in runs.list_runs()]))

    def on_runs_screen_listed(self, message: Listed) -> None:
        """Show what there is."""
        self._rows = message.rows
        self._show()

    def _show(self) -> None:
        table: DataTable[Text] = self.query_one(DataTable)
        before = self._current()
        self._shown = ordered(wanted(self._rows, self._words), self._order)
        table.clear()
        for row in self._shown:
            sign = "*" if row.info.run.id in self._chosen else " "
            table.add_row(*(Text(self._plain(cell), no_wrap=True) for cell in (sign, *cells(row))))
        ids = [row.info.run.id for row in self._shown]
        if before is not None and before.id in ids:
            table.cursor_coordinate = Coordinate(ids.index(before.id), 0)
        of = f" of {len(self._rows)}" if len(self._shown) != len(self._rows) else ""
        found = f", with '{plain(self._words, 40)}'" if self._words else ""
        chosen = f", {len(self._chosen)} chosen" if self._chosen else ""
        self.query_one("#head", Static).update(f"{len(self._shown)}{of} runs by {self._order}{found}{chosen}")

    def _plain(self, text: str) -> str:
        return to_ascii(text) if self._ascii else text

    def _current(self) -> RunDir | None:
        """The run under the cursor."""
        number = self.query_one(DataTable).cursor_row
        return self._shown[number].info.run if 0 <= number < len(self._shown) else None

    def _those(self) -> list[RunDir]:
        """The chosen runs that are still there; without any, the one under the cursor."""
        chosen = [row.info.run for row in self._rows if row.info.run.id in self._chosen]
        current = self._current()
        return chosen or ([current] if current is not None else [])

    # Work that takes a while, and its end.

    def _do(self, work: Callable[[], str | list[str]]) -> None:
        def attempt() -> None:
            try:
                result = work()
            except FAULTS as error:
                self.post_message(self.Done(said(error), failed=True))
            else:
                lines = result if isinstance(result, list) else None
                self.post_message(self.Done("" if lines else str(result), lines=lines))

        self._say("working …")
        threading.Thread(target=attempt, name="action", daemon=True).start()

    def on_runs_screen_done(self, message: Done) -> None:
        """Say it, and look again."""
        self._say(message.text, failed=message.failed)
        if message.lines is not None:
            self.app.push_screen(TextScreen("Comparison", Text(self._plain("\n".join(message.lines)))))
        self._look()

    def _say(self, text: str, *, failed: bool = False) -> None:
        self.query_one("#said", Static).update(self._plain(plain(f"{'not done: ' if failed else ''}{text}", 500)))

    # The keys.

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter or a click on the run under the cursor."""
        self.action_attach()

    def action_attach(self) -> None:
        """Watch the run; Escape or q in its dashboard leaves it."""
        if (run := self._current()) is not None:
            from gputrain.tui.screens.dashboard import DashboardScreen  # its panels are of no use to the list

            self.app.push_screen(DashboardScreen(launch.attach(run, outlined=True)))

    def action_find(self) -> None:
        """Show only runs that hold some words."""

        def take(words: str | None) -> None:
            if words is not None:
                self._words = words
                self._show()

        self.app.push_screen(PromptScreen("Find", self._words, "words of id, name, tags, note or recipe"), take)

    def action_order(self) -> None:
        """Sort by the next of what can be sorted by."""
        self._order = ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)]
        self._show()

    def action_choose(self) -> None:
        """Choose the run for comparing or deleting, or no longer."""
        if (run := self._current()) is not None:
            self._chosen ^= {run.id}
            self._show()
            self.query_one(DataTable).action_cursor_down()

    def action_stop(self) -> None:
        """Stop after a checkpoint, once that was confirmed."""
        if (run := self._current()) is not None:
            question = f"Stop {run.id} after a checkpoint?"
            self.app.push_screen(
                ConfirmScreen(question), lambda yes: self._do(lambda: runactions.stop(run)) if yes else None
            )

    def action_resume(self) -> None:
        """Go on from the last checkpoint."""
        if (run := self._current()) is not None:
            self._ask(f"Resume {run.id}", "", _CHANGES, lambda text: runactions.resume(run, text))

    def action_clone(self) -> None:
        """Start a new run with this one's settings."""
        if (run := self._current()) is not None:
            self._ask(f"Clone {run.id}", "", _CHANGES, lambda text: runactions.clone(run, text))

    def action_mark(self, what: str) -> None:
        """Change the name, the tags or the note."""
        if (run := self._current()) is None:
            return
        marks = read_marks(run)
        value, change = {
            "name": (marks.name, runactions.rename),
            "tags": (" ".join(marks.tags), runactions.tag),
            "note": (marks.note, runactions.note),
        }[what]
        self._ask(f"{what.capitalize()} of {run.id}", value, "", lambda text: change(run, text))

    def _ask(self, title: str, value: str, placeholder: str, work: Callable[[str], str]) -> None:
        def take(text: str | None) -> None:
            if text is not None:
                self._do(lambda: work(text.strip()))

        self.app.push_screen(PromptScreen(title, value, placeholder), take)

    def action_compare(self) -> None:
        """Show the chosen runs beside each other."""
        chosen = self._those()
        if len(chosen) < 2:
            self._say("choose two runs or more with the space bar first", failed=True)
            return
        self._do(lambda: runactions.compare(chosen))

    def action_delete(self) -> None:
        """Delete the chosen runs, or the one under the cursor, once that was confirmed."""
        chosen = self._those()
        if not chosen:
            return
        what = chosen[0].id if len(chosen) == 1 else f"{len(chosen)} runs"

        def take(yes: bool | None) -> None:
            if yes:
                self._chosen.clear()
                self._do(lambda: runactions.delete(chosen))

        self.app.push_screen(ConfirmScreen(f"Delete {what} with all files?"), take)

    def action_leave(self) -> None:
        """Go back to the launcher, or leave; runs go on."""
        if len(self.app.screen_stack) > 1:
            self.dismiss(None)
        else:
            self.app.exit(EXIT_FINISHED)
