"""The ladder over the launcher: each rung's speed as a bar, while they are measured one after the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Static

from gputrain.engine.childwork import Started, Tell
from gputrain.tui import format as words
from gputrain.tui.benchtable import BAR, Bench, cells, header, remarks, title
from gputrain.tui.choosing import FAULTS, said
from gputrain.tui.climbing import Measured
from gputrain.tui.lines import EMPTY, Line, fit, line, pad, width, wrap
from gputrain.tui.theme import Palette
from gputrain.tui.widgets.menu import as_text

Climb = Callable[[Tell, Measured, Started], Bench]
"""Measures all rungs."""

_DISPENSABLE = ("GPU", "waits", "gain", "peak memory", "±")
"""Columns that are left out where there is no room, in this order, after those of other cards."""


class _Left(Exception):  # noqa: N818 - not an error: nobody looks any more
    pass


class BenchScreen(ModalScreen[None]):
    """Escape ends the measuring."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,f10", "close", "close"),
        Binding("ctrl+c", "close", show=False, priority=True),
    ]

    class Told(Message):
        """What is being done now."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Known(Message):
        """The benchmark as far as it is known; `over`: nothing will follow, because of `error` if there is one."""

        def __init__(self, bench: Bench | None, over: bool, error: str = "") -> None:
            super().__init__()
            self.bench = bench
            self.over = over
            self.error = error

    def __init__(self, bench: Bench, climb: Climb, palette: Palette, ascii_only: bool) -> None:
        """`bench` has the rungs, not measured yet."""
        super().__init__()
        self._bench, self._climb, self._palette, self._ascii = bench, climb, palette, ascii_only
        self._began = time.monotonic()
        self._doing, self._error = "starting", ""
        self._over = self._left = False
        self._cancel: Callable[[], None] = lambda: None

    def compose(self) -> ComposeResult:
        """One text."""
        with VerticalScroll(classes="dialog wide wider") as dialog:
            dialog.border_title = "Standard against optimized"
            dialog.border_subtitle = "Escape ends it"
            yield Static(id="rungs", markup=False)

    def on_mount(self) -> None:
        """Begin."""
        self._show()
        self.set_interval(1.0, self._show)
        threading.Thread(target=self._work, name="bench", daemon=True).start()

    def _work(self) -> None:
        def tell(text: str) -> None:
            if self._left:
                raise _Left
            self.post_message(self.Told(text))

        try:
            bench = self._climb(tell, lambda found: self.post_message(self.Known(found, False)), self._started)
        except _Left:
            return
        except FAULTS as error:
            self.post_message(self.Known(None, True, said(error)))
        else:
            self.post_message(self.Known(bench, True))

    def _started(self, cancel: Callable[[], None]) -> None:
        self._cancel = cancel
        if self._left:
            cancel()

    def on_bench_screen_told(self, message: Told) -> None:
        """Show what is being done."""
        self._doing = message.text
        self._show()

    def on_bench_screen_known(self, message: Known) -> None:
        """Show what is known now."""
        self._bench = message.bench or self._bench
        self._over, self._error = message.over, message.error
        self._show()

    def on_resize(self) -> None:
        """Other columns, once the dialog has its new width."""
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        columns = max(40, self.query_one(VerticalScroll).scrollable_content_region.width)
        rows = [*bench_lines(self._bench, columns), EMPTY]
        if self._error:
            rows += [line((row, "bad")) for row in wrap(f"■ {self._error}", columns, 6)]
        elif self._over:
            rows += [line((row, "dim")) for remark in remarks(self._bench) for row in wrap(remark, columns, 3)]
        else:
            passed = words.duration(time.monotonic() - self._began)
            rows.append(fit(line((f"○ {self._doing}…", "data"), f"  {passed}"), columns))
        self.query_one("#rungs", Static).update(as_text(rows, self._palette, self._ascii))

    def action_close(self) -> None:
        """Back to the launcher; a measurement that goes on is ended."""
        self._left = True
        self._cancel()
        self.dismiss(None)


def bench_lines(bench: Bench, columns: int) -> list[Line]:
    """What is measured, then a row for each rung, with a bar at its end; in at most `columns` cells."""
    rows = [header(bench), *(cells(row, bench, ascii_only=False) for row in bench.rows)]
    widths = [2 + max(width([(row[at], "text")]) for row in rows) for at in range(len(rows[0]) - 1)]
    shown = list(range(len(widths)))
    for name in (*bench.references, *_DISPENSABLE):
        # What is left is for the bars, or for why a rung has none.
        if sum(widths[at] for at in shown) + BAR <= columns:
            break
        shown.remove(rows[0].index(name))
    drawn = [line((row, "bright")) for row in wrap(title(bench), columns, 2)]
    for number, row in enumerate(rows):
        start = line(("".join(pad(row[at], widths[at]) for at in shown), "text" if number else "dim"))
        end = row[-1]
        if number and bench.rows[number - 1].speed:
            room = columns - sum(widths[at] for at in shown)
            end = end[: max(1, round(len(end) * min(1.0, room / BAR)))]
        failed = number and bench.rows[number - 1].error
        drawn.append(fit((*start, (end, "dim" if failed else "data")), columns))
    return drawn
