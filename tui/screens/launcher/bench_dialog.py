"""The ablation dialog of the launcher: measures the stages one after the other and shows their speeds as bars."""

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
"""Measures all stages; called with progress, result and start callbacks."""

_OPTIONAL = ("GPU", "waits", "gain", "peak memory", "±")
"""Columns dropped in a narrow window, in this order, after the columns of published ladders."""


class BenchScreen(WorkScreen[None]):
    """Shows the ablation; Escape cancels the measurement."""

    NAME = "bench"
    HEADING = "Bench: default settings against the plan"
    DIALOG_CLASSES = "dialog wide wider"

    def __init__(self, bench: Bench, measure: MeasureStages, palette: Palette, ascii_only: bool) -> None:
        """`bench` contains the stages without results."""
        super().__init__(palette, ascii_only)
        self._bench, self._measure = bench, measure
        self._began = time.monotonic()
        self._activity = "starting"

    def work(self) -> Bench:
        """Measure all stages."""

        def report(text: str) -> None:
            # Between two stages no child process runs that could be cancelled.
            if self._cancelled:
                raise CancelledError
            self.report(text)

        return self._measure(report, self.report, self.started)

    def handle_update(self, update: str | Bench) -> None:
        """Take the current activity, or the results so far."""
        if isinstance(update, Bench):
            self._bench = update
        else:
            self._activity = update

    def handle_result(self, result: Bench) -> None:
        """Take the final results."""
        self._bench = result

    def return_value(self) -> None:
        """Return nothing."""

    def lines(self, columns: int) -> list[Line]:
        """The stages; below them the activity, the error or the remarks."""
        rows = [*bench_lines(self._bench, columns), EMPTY]
        if self._error:
            return rows + [line((row, "bad")) for row in wrap(f"■ {self._error}", columns, 6)]
        if self._finished:
            return rows + [line((row, "dim")) for remark in remarks(self._bench) for row in wrap(remark, columns, 3)]
        passed = fmt.duration(time.monotonic() - self._began)
        return [*rows, fit(line((f"○ {self._activity}…", "data"), f"  {passed}"), columns)]


def bench_lines(bench: Bench, columns: int) -> list[Line]:
    """A title, then a row for each stage with a bar at its end, in at most `columns` cells."""
    rows = [header(bench), *(cells(row, bench, ascii_only=False) for row in bench.rows)]
    widths = [2 + max(width([(row[at], "text")]) for row in rows) for at in range(len(rows[0]) - 1)]
    shown = list(range(len(widths)))
    for name in (*bench.references, *_OPTIONAL):
        # The rest of the width is for the bar, or for the reason why a stage has none.
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
