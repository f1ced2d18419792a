"""Formats the settings that differ between runs, and their results, as tables. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gputrain.tui.actions import compare_runs
from gputrain.tui.actions.compare_runs import Compared
from gputrain.tui.render.text_table import table_lines


def tables(compared: Sequence[Compared]) -> Iterator[str]:
    """Two tables as lines: settings that differ, then results."""
    labels = [one.label for one in compared]
    different = compare_runs.differences(compared)
    yield from table_lines(("setting", *labels), different) if different else ["the settings are the same"]
    yield ""
    yield from table_lines(("", *labels), compare_runs.results(compared))
    if len(units := compare_runs.units(compared)) > 1:
        yield f"The throughputs count different things ({', '.join(units)}): they cannot be compared."
