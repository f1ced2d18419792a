"""Compares runs in tables: settings that differ, results, and a curve side by side. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import Unit, per_second
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.settings import shown
from gputrain.tui.actions.compare_runs import AXES, Axis, Compared, Point
from gputrain.tui.render import format as fmt
from gputrain.tui.render.text_table import table_lines

_NOT_COMPARED = frozenset(("name", "resume_from"))


def tables(compared: Sequence[Compared]) -> Iterator[str]:
    """Two tables as lines: settings that differ, then results."""
    labels = [one.label for one in compared]
    different = differences(compared)
    yield from table_lines(("setting", *labels), different) if different else ["the settings are the same"]
    yield ""
    yield from table_lines(("", *labels), results(compared))
    if len(counted := units(compared)) > 1:
        yield f"The throughputs count different things ({', '.join(counted)}): they cannot be compared."


def differences(compared: Sequence[Compared]) -> list[tuple[str, ...]]:
    """Settings that differ between the runs, as rows: the name, then the value in each run as text."""
    known = dict.fromkeys((*settings.table(), *(name for one in compared for name in one.values)))
    names = [name for name in known if name not in _NOT_COMPARED]
    rows = [(name, [one.values.get(name) for one in compared]) for name in names]
    different = [(name, values) for name, values in rows if any(value != values[0] for value in values)]
    return [(name, *(fmt.MISSING if v is None else plain(shown(v), 60) for v in values)) for name, values in different]


def units(compared: Iterable[Compared]) -> list[Unit]:
    """What the throughputs of the runs count, each once."""
    return list(dict.fromkeys(one.summary.unit for one in compared))


def results(compared: Iterable[Compared]) -> list[tuple[str, ...]]:
    """Results as rows of text: a title, then the value of each run."""
    columns = [_column(one) for one in compared]
    return [(title, *(column[title] for column in columns)) for title in columns[0]]


def _column(one: Compared) -> dict[str, str]:
    found = one.summary
    best = f"{found.metric} {fmt.metric(found.metric, found.best)}" if found.best is not None else "not validated"
    if found.script:
        best = "not known of a script"
    return {
        "outcome": found.outcome.value if found.outcome else "not ended",
        "steps": fmt.whole(found.step),
        "time": fmt.duration(found.seconds),
        "throughput": f"{fmt.rate(found.images_per_second)} {per_second(found.unit)}",
        "data wait": fmt.share(found.data_wait_share),
        "loss": fmt.figure(found.loss),
        "best": best,
        "peak VRAM": fmt.size(found.peak_vram) if found.peak_vram is not None else "no GPU used",
        "energy": f"{fmt.energy(found.joules)} by the GPUs" if found.joules is not None else "not measured",
        "J per image": fmt.figure(found.joules_per_image),
        "cost": f"{found.cost:,.2f}" if found.cost is not None else fmt.MISSING,
        "bottleneck": one.cause,
    }


def side_by_side(compared: Sequence[Compared], metric: str, axis: Axis, rows: int) -> list[tuple[str, ...]]:
    """`metric` of each run at `rows` equal steps along `axis`, as rows: the position, then each newest value."""
    column = AXES.index(axis)
    curves = [one.curves.get(metric, []) for one in compared]
    end = max((points[-1][column] for points in curves if points), default=0)
    found = []
    for number in range(1, rows + 1):
        at = end * number / rows
        found.append(
            (
                fmt.duration(at) if axis == "seconds" else fmt.whole(at),
                *(_value(points, at, column) for points in curves),
            )
        )
    return found


def _value(points: Sequence[Point], at: float, column: int) -> str:
    """The value of a curve at position `at`; empty before its first point and after its last."""
    if not points or at > points[-1][column] * (1 + 1e-9):
        return ""
    number = bisect_right([point[column] for point in points], at * (1 + 1e-9))
    return fmt.figure(points[number - 1].value) if number else ""
