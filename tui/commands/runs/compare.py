"""``gputrain-tui compare RUN RUN …``: settings that differ, results, bottlenecks and curves of several runs."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from gputrain.engine.common.errors import EXIT_FINISHED, BadInput, did_you_mean
from gputrain.engine.runs import run_directory
from gputrain.tui.actions import compare_chart, compare_runs, compare_tables
from gputrain.tui.actions.compare_runs import AXES, Axis, Compared
from gputrain.tui.actions.compare_tables import tables
from gputrain.tui.render.ascii_replacements import to_ascii
from gputrain.tui.render.charset import wants_ascii
from gputrain.tui.render.text_table import table_lines

ROWS = 10
"""Rows of the table of values."""
_CHART = (100, 16)
"""Largest size of the chart in columns and lines."""


def run(options: argparse.Namespace) -> int:
    """Print the comparison."""
    targets = list(dict.fromkeys(map(run_directory.find, options.run)))
    if len(targets) < 2:
        raise BadInput("compare needs at least two runs; list them with: gputrain-tui runs")
    try:
        compared = [compare_runs.read_compared(target) for target in targets]
    except OSError as error:
        raise BadInput(f"{error.filename}: cannot be read: {error.strerror}") from None
    metric = _metric(options.metric, compared)
    if options.json:
        print(msgspec.json.encode(_as_json(compared)).decode())
        return EXIT_FINISHED
    for line in (*tables(compared), "", *_curves(compared, metric, options.over)):
        print(line)
    return EXIT_FINISHED


def _curves(compared: Sequence[Compared], metric: str, axis: Axis) -> Iterator[str]:
    """The chart and a table of values, as lines."""
    width = min(_CHART[0], shutil.get_terminal_size().columns)
    lines = compare_chart.with_legend(compared, metric, axis, width, _CHART[1] + len(compared), wants_ascii())
    shown = to_ascii if wants_ascii() else str
    yield from (shown("".join(text for text, _ in line).rstrip()) for line in lines)
    yield ""
    labels = [one.label for one in compared]
    yield from table_lines(
        (compare_chart.axis_title(compared, axis), *labels), compare_tables.side_by_side(compared, metric, axis, ROWS)
    )


def _metric(wanted: str, compared: list[Compared]) -> str:
    known = sorted({name for one in compared for name in one.curves})
    if wanted not in known and known:
        raise BadInput(f"--metric must be one of {', '.join(known)}, got '{wanted}'{did_you_mean(wanted, known)}")
    return wanted


def _as_json(compared: list[Compared]) -> dict[str, Any]:
    different = [row[0] for row in compare_tables.differences(compared)]
    return {
        "settings": {name: [one.values.get(name) for one in compared] for name in different},
        "runs": [
            {
                "run": one.run.id,
                "label": one.label,
                "cause": one.cause,
                "summary": msgspec.to_builtins(one.summary),
                "curves": {
                    name: {axis: [getattr(point, axis) for point in points] for axis in (*AXES, "value")}
                    for name, points in one.curves.items()
                },
            }
            for one in compared
        ],
    }
