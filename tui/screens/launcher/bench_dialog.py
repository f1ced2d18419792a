"""The ladder over the launcher: each stage's speed as a bar, while they are measured one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable

from gputrain.engine.processes.child_job import Started, Tell
from gputrain.tui.actions.run_ablation import Measured
from gputrain.tui.render import format as fmt
from gputrain.tui.render.bench_table import BAR, Bench, cells, header, remarks, title
from gputrain.tui.render.styled_lines import EMPTY, Line, fit, line, pad, width, wrap
from gputrain.tui.render.theme import Palette
from gputrain.tui.screens.launcher.work_dialog import CancelledError, WorkScreen

MeasureStages = Callable[[Tell, Measured, Started], Bench]
"""Measures all stages."""

_DISPENSABLE = ("GPU", "waits", "gain", "peak memory", "±")
"""Columns that are left out where there is no room, in this order, after those of other cards."""


class BenchScreen(WorkScreen[None]):
    """Escape ends the measuring."""

    NAME = "bench"
    HEADING = "Standard against optimized"
    LOOK = "dialog wide wider"

    def __init__(self, bench: Bench, climb: MeasureStages, palette: Palette, ascii_only: bool) -> None:
        """`bench` has the stages, not measured yet."""
        super().__init__(palette, ascii_only)
        self._bench, self._climb = bench, climb
        self._began = time.monotonic()
        self._doing = "starting"

    def work(self) -> Bench:
        """All stages."""

        def tell(text: str) -> None:
            # Between two stages nothing is there that could be cancelled.
            if self._left:
                raise CancelledError
            self.tell(text)

        return self._climb(tell, self.tell, self.started)

    def hear(self, news: str | Bench) -> None:
        """What is being done, or what is known now."""
        if isinstance(news, Bench):
            self._bench = news
        else:
            self._doing = news

    def take(self, made: Bench) -> None:
        """All is known."""
        self._bench = made

    def result(self) -> None:
        """Nothing."""

    def lines(self, columns: int) -> list[Line]:
        """The stages, and what goes on or was to be said."""
        rows = [*bench_lines(self._bench, columns), EMPTY]
        if self._error:
            return rows + [line((row, "bad")) for row in wrap(f"■ {self._error}", columns, 6)]
        if self._over:
            return rows + [line((row, "dim")) for remark in remarks(self._bench) for row in wrap(remark, columns, 3)]
        passed = fmt.duration(time.monotonic() - self._began)
        return [*rows, fit(line((f"○ {self._doing}…", "data"), f"  {passed}"), columns)]


def bench_lines(bench: Bench, columns: int) -> list[Line]:
    """What is measured, then a row for each stage, with a bar at its end; in at most `columns` cells."""
    rows = [header(bench), *(cells(row, bench, ascii_only=False) for row in bench.rows)]
    widths = [2 + max(width([(row[at], "text")]) for row in rows) for at in range(len(rows[0]) - 1)]
    shown = list(range(len(widths)))
    for name in (*bench.references, *_DISPENSABLE):
        # What is left is for the bars, or for why a stage has none.
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
