"""Draws the curves of several runs in one chart, each with its own color and letter. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase

from gputrain.tui.actions.compare_runs import AXES, Axis, Compared, Point
from gputrain.tui.actions.compare_tables import units
from gputrain.tui.charts.braille_chart import Plot, draw
from gputrain.tui.charts.bucket_arrays import Bucket
from gputrain.tui.charts.value_history import Curve
from gputrain.tui.render import format as fmt
from gputrain.tui.render.styled_lines import Line, Span, fit
from gputrain.tui.render.theme import Role

_ROLES: tuple[Role, ...] = ("data", "compute", "copy", "warn", "bad", "title", "bright")
Mark = tuple[float, float, str, Role]


def metrics(compared: Sequence[Compared]) -> list[str]:
    """Names of the metrics of which any run has a curve; the training loss first."""
    return sorted({name for one in compared for name in one.curves}, key=lambda name: (name != "loss", name))


def letter(number: int) -> str:
    """The letter of the run with this index."""
    return ascii_lowercase[number % len(ascii_lowercase)]


def legend(compared: Sequence[Compared], metric: str) -> list[Line]:
    """A line per run: its letter, its label and its last value."""
    lines: list[Line] = []
    for number, one in enumerate(compared):
        points = one.curves.get(metric)
        last = f"  {fmt.figure(points[-1].value)}" if points else "  no values"
        lines.append(((f"{letter(number)} {one.label}", _role(number)), (last, "text")))
    return lines


def chart(compared: Sequence[Compared], metric: str, axis: Axis, width: int, height: int, as_ascii: bool) -> list[Line]:
    """The chart of `metric` over `axis`: `height` lines of `width` cells; the last line is the x-axis."""
    column = AXES.index(axis)
    curves = [one.curves.get(metric, []) for one in compared]
    start = min((points[0][column] for points in curves if points), default=0)
    end = max((points[-1][column] for points in curves if points), default=1)
    axis_name = axis_title(compared, axis)
    drawn = [(_curve(points, column), _role(number)) for number, points in enumerate(curves)]
    (first, role), *more_curves = drawn
    plot = Plot(
        curve=first,
        role=role,
        more_curves=tuple(more_curves),
        start=start,
        end=end if end > start else start + 1,
        marks=tuple(
            mark for number, points in enumerate(curves) for mark in _marks(number, points, column, len(curves))
        ),
        label=fmt.share_tick if fmt.is_share(metric) else fmt.tick,
        ends=None if axis == "seconds" else (axis_text(start, axis), f"{axis_text(end, axis)} {axis_name}"),
        ascii=as_ascii,
    )
    return draw(plot, width, height)


def with_legend(
    compared: Sequence[Compared], metric: str, axis: Axis, width: int, height: int, as_ascii: bool
) -> list[Line]:
    """The chart below its title and legend."""
    title: list[Span] = [(f"{metric} by {axis_title(compared, axis)}", "title")]
    lines = [tuple(title), *legend(compared, metric)]
    return [*(fit(line, width) for line in lines), *chart(compared, metric, axis, width, height - len(lines), as_ascii)]


def axis_title(compared: Sequence[Compared], axis: Axis) -> str:
    """The name of `axis`; for ``images`` what the runs count: ``samples``, or ``images or steps``."""
    return " or ".join(units(compared)) if axis == "images" else axis


def axis_text(at: float, axis: Axis) -> str:
    """A position on `axis` as text."""
    return fmt.duration(at) if axis == "seconds" else fmt.whole(at)


def _role(number: int) -> Role:
    return _ROLES[number % len(_ROLES)]


def _curve(points: Sequence[Point], column: int) -> Curve:
    return Curve(tuple(Bucket(p[column], p[column], p.value, p.value, p.value, 1) for p in points))


def _marks(number: int, points: Sequence[Point], column: int, runs: int) -> list[Mark]:
    """The letter of the run at the end of its curve, and at one position before that differs between the runs."""
    if not points:
        return []
    chosen = {len(points) * (number + 1) // (runs + 1), len(points) - 1}
    return [(points[at][column], points[at].value, letter(number), _role(number)) for at in sorted(chosen)]
