"""``gputrain-tui compare RUN RUN …``: settings that differ, figures, causes and curves of several runs."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from gputrain.engine import runs
from gputrain.engine.errors import EXIT_FINISHED, BadInput, did_you_mean
from gputrain.tui import comparechart, comparing
from gputrain.tui.charset import wants_ascii
from gputrain.tui.commands.table import table_lines
from gputrain.tui.comparing import AXES, Axis, Compared
from gputrain.tui.lines import to_ascii

ROWS = 10
"""Of the table of values; the chart shows the rest."""
_CHART = (100, 16)
"""Columns and lines of the chart, where the terminal has no fewer."""


def run(options: argparse.Namespace) -> int:
    """Print the comparison."""
    targets = list(dict.fromkeys(map(runs.find, options.run)))
    if len(targets) < 2:
        raise BadInput("compare needs two runs or more; see: gputrain-tui runs")
    try:
        compared = [comparing.look_at(target) for target in targets]
    except OSError as error:
        raise BadInput(f"{error.filename}: cannot be read: {error.strerror}") from None
    metric = _metric(options.metric, compared)
    if options.json:
        print(msgspec.json.encode(_as_json(compared)).decode())
        return EXIT_FINISHED
    for line in (*tables(compared), "", *_curves(compared, metric, options.over)):
        print(line)
    return EXIT_FINISHED


def tables(compared: Sequence[Compared]) -> Iterator[str]:
    """Settings that differ, and figures, as lines."""
    labels = [one.label for one in compared]
    different = comparing.differences(compared)
    yield from table_lines(("setting", *labels), different) if different else ["the settings are the same"]
    yield ""
    yield from table_lines(("", *labels), comparing.figures(compared))


def _curves(compared: Sequence[Compared], metric: str, axis: Axis) -> Iterator[str]:
    """The curves, and some of their values, as lines."""
    width = min(_CHART[0], shutil.get_terminal_size().columns)
    lines = comparechart.with_legend(compared, metric, axis, width, _CHART[1] + len(compared), wants_ascii())
    shown = to_ascii if wants_ascii() else str
    yield from (shown("".join(text for text, _ in line).rstrip()) for line in lines)
    yield ""
    labels = [one.label for one in compared]
    yield from table_lines((axis, *labels), comparing.side_by_side(compared, metric, axis, ROWS))


def _metric(wanted: str, compared: list[Compared]) -> str:
    known = sorted({name for one in compared for name in one.curves})
    if wanted not in known and known:
        raise BadInput(f"--metric must be one of {', '.join(known)}, got '{wanted}'{did_you_mean(wanted, known)}")
    return wanted


def _as_json(compared: list[Compared]) -> dict[str, Any]:
    different = [row[0] for row in comparing.differences(compared)]
    return {
        "settings": {name: [one.values[name] for one in compared] for name in different},
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
