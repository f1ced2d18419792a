"""Draws line charts with axes as text in braille dots, or in ASCII. Pure.

Charts send few bytes over slow connections: each curve has one color, and the axes rarely move, so that a new value
changes only a few cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from typing import NamedTuple

from msgspec import Struct

from gputrain.tui.charts.bucket_arrays import Bucket
from gputrain.tui.charts.chart_axes import x_ticks, y_axis
from gputrain.tui.charts.value_history import Curve, segments
from gputrain.tui.render import format as fmt
from gputrain.tui.render.styled_lines import Line, Span, cut, fit, right
from gputrain.tui.render.theme import Role

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bit of each of the 4 rows × 2 columns of dots in a braille cell (Unicode block U+2800)."""
_ASCII_ROWS = "'-._"
_LABEL_CELLS = 9


class Plot(Struct, frozen=True, kw_only=True):
    """The content of a chart."""

    curve: Curve
    role: Role = "data"
    more_curves: tuple[tuple[Curve, Role], ...] = ()
    """More curves on the same axes; earlier curves cover later ones."""
    low: float | None = None
    """Lower end of the y-axis; None: from the data."""
    high: float | None = None
    start: float = 0.0
    """Range of the x-axis."""
    end: float = 1.0
    marks: tuple[tuple[float, float, str, Role], ...] = ()
    """Marks drawn on top: x, y, one character, role."""
    label: Callable[[float], str]
    """Formats a tick of the y-axis."""
    min_span: float = 0.0
    """Smallest length of the y-axis, so that tiny values are not magnified."""
    joined_until: float = 0.0
    """Up to this x the record was read in part: gaps between points are joined."""
    ends: tuple[str, str] | None = None
    """Labels for both ends of an x-axis that does not show time."""
    ascii: bool = False


def draw(plot: Plot, width: int, height: int) -> list[Line]:
    """The chart as `height` lines of `width` cells; the last line is the x-axis."""
    rows = height - 1
    if rows < 1 or width < 12:
        return []
    curves = [(_between(curve, plot), role) for curve, role in ((plot.curve, plot.role), *plot.more_curves)]
    buckets = [bucket for found, _ in curves for bucket in found]
    marks = [mark for mark in plot.marks if plot.start <= mark[0] <= plot.end]
    if not buckets and not marks:
        blank = [fit((), width)] * rows
        blank[rows // 2] = fit((("no values yet".center(width), "dim"),), width)
        return [*blank, fit((), width)]
    low, high, ticks = y_axis((plot.low, plot.high), buckets, [y for _, y, _, _ in marks], rows, plot.min_span)
    names = {_row(tick, low, high, rows): cut(plot.label(tick), _LABEL_CELLS) for tick in ticks}
    gutter = max(len(name) for name in names.values())
    columns = width - gutter - 1
    drawn = []
    for found, role in curves:
        dots = _columns(plot, found, columns * 2)
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
    """Merge one row of all curves; the first curve with a dot in a cell wins."""
    (first, role), *others = rows
    found = [(cell, role) for cell in first]
    for cells, other in others:
        found = [(cell, other) if seen[0] == " " else seen for seen, cell in zip(found, cells, strict=True)]
    return found


def _row(value: float, low: float, high: float, rows: int) -> int:
    level = _level(value, low, high, rows * 4)
    return rows - 1 - level // 4


def _level(value: float, low: float, high: float, levels: int) -> int:
    return max(0, min(levels - 1, round((value - low) / (high - low) * (levels - 1))))


def _column(x: float, start: float, end: float, columns: int) -> int:
    return max(0, min(columns - 1, int((x - start) / (end - start) * columns)))


class _Column(NamedTuple):
    """Value range of a column of dots."""

    low: float
    mean: float
    high: float


def _columns(plot: Plot, buckets: Sequence[Bucket], columns: int) -> list[_Column | None]:
    """Smallest, mean and largest value in each column of dots; interpolated between points, None in gaps."""
    start, span, rightmost = plot.start, plot.end - plot.start, columns - 1

    # As `_column`, which is called thousands of times a second: without calls of min and max it takes half the time.
    def place(x: float) -> int:
        column = int((x - start) / span * columns)
        return 0 if column < 0 else rightmost if column > rightmost else column

    found = segments(buckets, plot.joined_until)
    means = _means(found, place, columns)
    lows: list[float] = [math.inf] * columns
    highs: list[float] = [-math.inf] * columns
    for bucket in buckets:
        at = place(max(bucket.first, start))
        for column in (at,) if bucket.first == bucket.last else range(at, place(bucket.last) + 1):
            if bucket.low < lows[column]:
                lows[column] = bucket.low
            if bucket.high > highs[column]:
                highs[column] = bucket.high
    return [
        None if mean is None else _Column(min(mean, low), mean, max(mean, high))
        for low, mean, high in zip(lows, means, highs, strict=True)
    ]


def _means(found: Sequence[Sequence[Bucket]], place: Callable[[float], int], columns: int) -> list[float | None]:
    sums = [0.0] * columns
    weights = [0] * columns
    known: list[list[int]] = []
    for segment in found:
        known.append([place((bucket.first + bucket.last) / 2) for bucket in segment])
        for bucket, column in zip(segment, known[-1], strict=True):
            sums[column] += bucket.mean * bucket.points
            weights[column] += bucket.points
    means = [total / weight if weight else None for total, weight in zip(sums, weights, strict=True)]
    for before, after in (pair for segment in known for pair in pairwise(segment)):
        first, last = means[before], means[after]
        assert first is not None
        assert last is not None
        for index in range(before + 1, after):
            means[index] = first + (last - first) * (index - before) / (after - before)
    return means


def _cells(
    dots: Sequence[_Column | None], low: float, high: float, rows: int, columns: int, as_ascii: bool
) -> list[list[str]]:
    """Draw the line of means, and a light pattern between smallest and largest value."""
    lines = [[0] * columns for _ in range(rows)]
    ranges = [[0] * columns for _ in range(rows)]
    before: int | None = None
    for index, value in enumerate(dots):
        if value is None:
            before = None
            continue
        level = _level(value.mean, low, high, rows * 4)
        # Connect to the previous column, so that a steep curve stays a line.
        reach = range(min(level, before + 1), max(level, before - 1) + 1) if before is not None else (level,)
        for dot in reach:
            lines[rows - 1 - dot // 4][index // 2] |= _DOTS[3 - dot % 4][index % 2]
        before = level
        if value.low == value.high:
            continue  # the line itself
        first, last = _level(value.low, low, high, rows * 4), _level(value.high, low, high, rows * 4)
        for dot in {first, last, *range(first + (2 * index - first) % 4, last + 1, 4)}:
            ranges[rows - 1 - dot // 4][index // 2] |= _DOTS[3 - dot % 4][index % 2]
    sign = _ascii_cell if as_ascii else _braille_cell
    return [list(map(sign, line, around)) for line, around in zip(lines, ranges, strict=True)]


def _braille_cell(line: int, around: int) -> str:
    return chr(0x2800 + (line | around)) if line | around else " "


def _ascii_cell(line: int, around: int) -> str:
    """The ASCII character for the dots: one of four heights, ``|`` for a full cell, ``:`` for the value range."""
    heights = [row for row, (left, right_dot) in enumerate(_DOTS) if line & (left | right_dot)]
    if not heights:
        return ":" if around else " "
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
    """The row with its marks, as one span per change of role."""
    for column, sign, role in marks:
        cells[column] = (sign, role)
    return [("".join(cell for cell, _ in some), role) for role, some in groupby(cells, key=itemgetter(1))]


def _x_axis(plot: Plot, gutter: int, width: int) -> Line:
    """The x-axis: round times, or the labels of both ends."""
    columns = width - gutter - 1
    if plot.ends is not None:
        first, last = plot.ends
        return fit(((" " * (gutter + 1) + first + right(last, max(0, columns - len(first))), "dim"),), width)
    text = ""
    for at in x_ticks(plot.start, plot.end, columns):
        label = fmt.time_tick(at)
        middle = int((at - plot.start) / (plot.end - plot.start) * columns)
        place = max(0, min(columns - len(label), middle - len(label) // 2))
        if not text or place > len(text):
            text = text.ljust(place) + label
    return fit(((" " * (gutter + 1) + text, "dim"),), width)
