"""The table of runs. Rows are updated in place, so that cursor and scroll position stay."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from gputrain.engine.runs.run_directory import RunDir
from gputrain.tui.actions.run_list import HEADER, Row, cells
from gputrain.tui.render.ascii_replacements import to_ascii

_COLUMNS = ("", *HEADER)
_FEW = 30
"""Most rows to add and remove one by one; with more changes the table is filled again."""


class RunsTable(DataTable[Text]):
    """One row per run. Left and right scroll; Home and End go to the first and the last run."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("home", "scroll_top", show=False),
        Binding("end", "scroll_bottom", show=False),
    ]

    def __init__(self, ascii_only: bool) -> None:
        super().__init__(cursor_type="row", zebra_stripes=False)
        self._ascii = ascii_only
        self._seen: dict[str, tuple[str, ...]] = {}
        """Cells of each row by run directory, in table order."""
        self._runs: dict[str, RunDir] = {}

    def on_mount(self) -> None:
        """Add the columns."""
        for number, title in enumerate(_COLUMNS):
            self.add_column(title, key=str(number))

    @property
    def current(self) -> RunDir | None:
        """The highlighted run."""
        if not 0 <= self.cursor_row < self.row_count:
            return None
        key = self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value
        return self._runs.get(key or "")

    def show_rows(self, rows: Sequence[Row], chosen: Collection[RunDir]) -> None:
        """Show `rows` in their order; cursor and scroll position stay."""
        wanted = {str(row.info.run.directory): ("*" if row.info.run in chosen else " ", *cells(row)) for row in rows}
        current = self.current
        before = list(self._seen)
        self._runs = {str(row.info.run.directory): row.info.run for row in rows}
        if list(wanted) != before:
            gone = [key for key in before if key not in wanted]
            new = [key for key in wanted if key not in self._seen]
            if len(gone) + len(new) > _FEW or not before:
                self._fill(wanted)
            else:
                self._come_and_go(gone, new, wanted)
            self._place_cursor(current)
        self._change(wanted)
        self._seen = wanted

    def _fill(self, wanted: dict[str, tuple[str, ...]]) -> None:
        across = self.scroll_x
        self.clear()
        for key, line in wanted.items():
            self.add_row(*map(self._text, line), key=key)
        # Clearing reset the horizontal scroll position: restore it.
        self.call_after_refresh(lambda: self.scroll_to(x=across, animate=False))

    def _come_and_go(self, gone: list[str], new: list[str], wanted: dict[str, tuple[str, ...]]) -> None:
        for key in gone:
            self.remove_row(key)
        for key in new:
            self.add_row(*map(self._text, wanted[key]), key=key)
        # The table can only sort by cell contents: write the positions into the first column, sort, and restore it.
        for place, key in enumerate(wanted):
            self.update_cell(key, "0", Text(f"{place:09}"))
        self.sort("0", key=str)
        for key, line in wanted.items():
            self.update_cell(key, "0", self._text(line[0]))

    def _place_cursor(self, current: RunDir | None) -> None:
        key = str(current.directory) if current is not None else ""
        if key in self._runs:
            self.move_cursor(row=self.get_row_index(key), scroll=False)

    def _change(self, wanted: dict[str, tuple[str, ...]]) -> None:
        for key, line in wanted.items():
            before = self._seen.get(key)
            if before is None or before == line:
                continue
            for number, (old, new) in enumerate(zip(before, line, strict=True)):
                if old != new:
                    self.update_cell(key, str(number), self._text(new), update_width=len(old) != len(new))

    def _text(self, text: str) -> Text:
        return Text(to_ascii(text) if self._ascii else text, no_wrap=True)
