"""A line chart of braille dots with axes, drawn as text. Pure; ASCII where braille cannot be shown.

Made to be sent over slow lines: one colour a curve, and axes that move seldom, so that a new value changes
only the cells around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from operator import itemgetter

from msgspec import Struct

from gputrain.tui.history import Bucket, Curve
from gputrain.tui.lines import Line, Span, cut, fit, right
from gputrain.tui.theme import Role

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bit of each of the 4 rows × 2 columns of dots in a braille cell (Unicode block U+2800)."""
_ASCII_ROWS = "'-._"


class Plot(Struct, frozen=True, kw_only=True):
    """What a chart shows."""

    curve: Curve
    role: Role = "data"
    others: tuple[tuple[Curve, Role], ...] = ()
    """More curves on the same axes; where they cross, the first of all is seen."""
    low: float | None = None
    """Lower end of the y-axis; None: from the data."""
    high: float | None = None
    start: float = 0.0
    """Range of the x-axis."""
    end: float = 1.0
    marks: tuple[tuple[float, float, str, Role], ...] = ()
    """Points set on top: x, y, one character, role."""
    label: Callable[[float], str]
    """A tick of the y-axis in words."""
    left: str = ""
    """Below the left end of the x-axis."""
    right: str = ""
    ascii: bool = False


def draw(plot: Plot, width: int, height: int) -> list[Line]:
    """The chart as `height` lines of `width` cells: plot, then a line with the ends of the x-axis."""
    rows = height - 1
    if rows < 1 or width < 12:
        return []
    curves = [(_between(curve, plot), role) for curve, role in ((plot.curve, plot.role), *plot.others)]
    buckets = [bucket for found, _ in curves for bucket in found]
    marks = [mark for mark in plot.marks if plot.start <= mark[0] <= plot.end]
    if not buckets and not marks:
        blank = [fit((), width)] * rows
        blank[rows // 2] = fit((("no figures yet".center(width), "dim"),), width)
        return [*blank, fit((), width)]
    low, high, ticks = _y_axis(plot, buckets, [y for _, y, _, _ in marks], rows)
    names = {_row(tick, low, high, rows): cut(plot.label(tick), 8) for tick in ticks}
    gutter = max(len(name) for name in names.values())
    columns = width - gutter - 1
    drawn = []
    for found, role in curves:
        dots = _heights(found, plot.start, plot.end, columns * 2)
        drawn.append((_cells(dots, low, high, rows, columns, plot.ascii), role))
    stars = _place(marks, plot, low, high, rows, columns)
    lines = []
    for row in range(rows):
        axis: Span = (right(names.get(row, ""), gutter) + ("┤" if row in names else "│"), "dim")
        over = _over([(cells[row], role) for cells, role in drawn])
        lines.append(fit((axis, *_with_marks(over, stars.get(row, []))), width))
    return [*lines, _x_axis(plot, gutter, width)]


def _between(curve: Curve, plot: Plot) -> list[Bucket]:
    return [bucket for bucket in curve.since(plot.start) if bucket.first <= plot.end]


def _over(rows: Sequence[tuple[Sequence[str], Role]]) -> list[tuple[str, Role]]:
    """One row of cells from those of all curves: in each cell the first curve that is there."""
    (first, role), *others = rows
    found = [(cell, role) for cell in first]
    for cells, other in others:
        found = [(cell, other) if seen[0] == " " else seen for seen, cell in zip(found, cells, strict=True)]
    return found


def _y_axis(
    plot: Plot, buckets: Sequence[Bucket], marks: Sequence[float], rows: int
) -> tuple[float, float, list[float]]:
    values = [bucket.mean for bucket in buckets] + list(marks)
    low = min(values) if plot.low is None else plot.low
    high = max(values) if plot.high is None else plot.high
    if high <= low:
        low, high = (low - abs(low) * 0.1 if plot.low is None else low), high + (abs(high) * 0.1 or 1.0)
    if plot.low is not None and plot.high is not None:
        parts = 4 if rows >= 16 else 2 if rows >= 6 else 1
        return low, high, [low + (high - low) * number / parts for number in range(parts + 1)]
    step = nice_step((high - low) / max(1, min(rows // 3, 4)))
    if plot.low is None:
        low = math.floor(low / step) * step
    if plot.high is None:
        high = math.ceil(high / step - 1e-9) * step
    count = round((high - low) / step)
    return low, high, [low + step * number for number in range(count + 1) if low + step * number <= high + step / 100]


def nice_step(rough: float) -> float:
    """The smallest of 1, 2, 2.5 or 5 times a power of ten that is at least `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))


def _row(value: float, low: float, high: float, rows: int) -> int:
    level = _level(value, low, high, rows * 4)
    return rows - 1 - level // 4


def _level(value: float, low: float, high: float, levels: int) -> int:
    return max(0, min(levels - 1, round((value - low) / (high - low) * (levels - 1))))


def _column(x: float, start: float, end: float, columns: int) -> int:
    return max(0, min(columns - 1, int((x - start) / (end - start) * columns)))


def _heights(buckets: Sequence[Bucket], start: float, end: float, columns: int) -> list[float | None]:
    """Mean value in each column of dots; columns between two neighbouring points are interpolated."""
    sums = [0.0] * columns
    weights = [0] * columns
    for bucket in buckets:
        column = _column((bucket.first + bucket.last) / 2, start, end, columns)
        sums[column] += bucket.mean * bucket.points
        weights[column] += bucket.points
    values = [total / weight if weight else None for total, weight in zip(sums, weights, strict=True)]
    known = [index for index, value in enumerate(values) if value is not None]
    for before, after in pairwise(known):
        first, last = values[before], values[after]
        assert first is not None
        assert last is not None
        for index in range(before + 1, after):
            values[index] = first + (last - first) * (index - before) / (after - before)
    return values


def _cells(
    dots: Sequence[float | None], low: float, high: float, rows: int, columns: int, as_ascii: bool
) -> list[list[str]]:
    bits = [[0] * columns for _ in range(rows)]
    before: int | None = None
    for index, value in enumerate(dots):
        if value is None:
            before = None
            continue
        level = _level(value, low, high, rows * 4)
        # Join to the neighbour, so that a steep curve stays a line.
        reach = range(min(level, before + 1), max(level, before - 1) + 1) if before is not None else (level,)
        for dot in reach:
            row = rows - 1 - dot // 4
            bits[row][index // 2] |= _DOTS[3 - dot % 4][index % 2]
        before = level
    return [[_ascii_cell(b) if as_ascii else (chr(0x2800 + b) if b else " ") for b in row] for row in bits]


def _ascii_cell(bits: int) -> str:
    """The sign nearest to the dots: one of four heights, or a stroke where they fill the cell."""
    heights = [row for row, (left, right_dot) in enumerate(_DOTS) if bits & (left | right_dot)]
    if not heights:
        return " "
    return "|" if len(heights) > 2 else _ASCII_ROWS[heights[0]]


def _place(
    marks: Sequence[tuple[float, float, str, Role]], plot: Plot, low: float, high: float, rows: int, columns: int
) -> dict[int, list[tuple[int, str, Role]]]:
    placed: dict[int, dict[int, tuple[str, Role]]] = {}
    for x, y, sign, role in marks:
        column = _column(x, plot.start, plot.end, columns)
        placed.setdefault(_row(y, low, high, rows), {})[column] = (sign, role)
    return {row: sorted((c, s, r) for c, (s, r) in found.items()) for row, found in placed.items()}


def _with_marks(cells: list[tuple[str, Role]], marks: Sequence[tuple[int, str, Role]]) -> list[Span]:
    """The row as spans: as few as there are changes of role."""
    for column, sign, role in marks:
        cells[column] = (sign, role)
    return [("".join(cell for cell, _ in some), role) for role, some in groupby(cells, key=itemgetter(1))]


def _x_axis(plot: Plot, gutter: int, width: int) -> Line:
    room = width - gutter - 1
    gap = room - len(plot.left) - len(plot.right)
    text = plot.left + " " * gap + plot.right if gap > 0 else cut(plot.right, room)
    return fit(((" " * (gutter + 1) + text, "dim"),), width)


ZOOMS: tuple[float | None, ...] = (None, 3600.0, 900.0, 300.0, 60.0)
"""Lengths of the x-axis in seconds; None is the whole run."""
ZOOM_NAMES = ("whole run", "last hour", "last 15 min", "last 5 min", "last minute")


def x_range(now: float, zoom: float | None) -> tuple[float, float]:
    """Ends of the x-axis at run second `now`. They move in jumps, so that most updates leave the curve in place."""
    if zoom is None:
        end = 60.0
        while end < now:
            end *= 1.25
        return 0.0, end
    jump = zoom / 10
    end = max(zoom, math.ceil(now / jump) * jump)
    return end - zoom, end
