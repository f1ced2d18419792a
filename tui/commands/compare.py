"""``gputrain-tui compare RUN RUN …``: settings that differ, figures, causes and curves of several runs."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from gputrain.engine import runs
from gputrain.engine.errors import EXIT_FINISHED, BadInput, did_you_mean
from gputrain.tui import comparing
from gputrain.tui.commands.table import print_table
from gputrain.tui.comparing import AXES, Compared

ROWS = 10


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
    labels = [one.label for one in compared]
    different = comparing.differences(compared)
    print_table(("setting", *labels), different) if different else print("the settings are the same")
    print()
    print_table(("", *labels), comparing.figures(compared))
    print()
    print_table((f"{metric} by {options.over}", *labels), comparing.side_by_side(compared, metric, options.over, ROWS))
    return EXIT_FINISHED


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
