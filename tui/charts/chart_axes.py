"""Chart axes: round tick values, and ranges that rarely change. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gputrain.engine.common.medians import median
from gputrain.tui.charts.bucket_arrays import Bucket
from gputrain.tui.render import format as fmt

_APART = 3
"""Smallest gap between two labels in cells."""
_TIMES: tuple[float, ...] = (
    *(1, 2, 5, 10, 15, 30),
    *(minutes * 60 for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * 3600 for hours in (1, 2, 3, 6, 12)),
    *(days * 86400 for days in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)),
)
_WHOLE = (
    *(minutes * 60 for minutes in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50)),
    *(hours * 3600 for hours in (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 16, 20)),
    *(days * 86400 for days in (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8)),
)
"""Possible ends of the x-axis over a whole run in seconds; then multiples by 10 of the last row."""
ZOOMS: tuple[float | None, ...] = (None, 3600.0, 900.0, 300.0, 60.0)
"""Lengths of the x-axis in seconds; None is the whole run."""
ZOOM_NAMES = ("whole run", "last hour", "last 15 min", "last 5 min", "last minute")


Ends = tuple[float | None, float | None]
"""Lower and upper end of an axis; None: from the data."""


class YAxis(NamedTuple):
    """Range and ticks of a y-axis."""

    low: float
    high: float
    ticks: list[float]


def y_axis(fixed: Ends, buckets: Sequence[Bucket], marks: Sequence[float], rows: int, min_span: float = 0.0) -> YAxis:
    """The y-axis for a chart of `rows` rows. `fixed`: given ends; `min_span`: smallest length."""
    low, high = _ends(fixed, buckets, marks, min_span)
    if None not in fixed:
        parts = 4 if rows >= 16 else 2 if rows >= 6 else 1
        return YAxis(low, high, [low + (high - low) * number / parts for number in range(parts + 1)])
    step = nice_step((high - low) / max(1, min(rows // 3, 4)))
    if fixed[0] is None:
        low = math.floor(low / step) * step
    if fixed[1] is None:
        high = math.ceil(high / step - 1e-9) * step
    ticks = [low + step * number for number in range(round((high - low) / step) + 1)]
    return YAxis(low, high, [tick for tick in ticks if tick <= high + step / 100])


def _ends(fixed: Ends, buckets: Sequence[Bucket], marks: Sequence[float], min_span: float) -> tuple[float, float]:
    means = [bucket.mean for bucket in buckets] + list(marks)
    low, high = min(means), max(means)
    # The usual range fits. Outliers are cut at the edge; otherwise the rest of the curve would look flat.
    usual = median(bucket.high - bucket.low for bucket in buckets) if buckets else 0.0
    room = high - low + 2 * usual or math.inf
    low = max(low - room, min((bucket.low for bucket in buckets), default=low))
    high = min(high + room, max((bucket.high for bucket in buckets), default=high))
    low = low if fixed[0] is None else fixed[0]
    high = max(high, low + min_span) if fixed[1] is None else fixed[1]
    if high <= low:
        low, high = (low - abs(low) * 0.1 if fixed[0] is None else low), high + (abs(high) * 0.1 or 1.0)
    return low, high


def nice_step(rough: float) -> float:
    """The smallest of 1, 2, 2.5 or 5 times a power of ten that is at least `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))


def x_ticks(start: float, end: float, columns: int) -> list[float]:
    """Round times from `start` to `end`, as many as fit side by side into `columns` cells."""
    for step in _TIMES:
        each = step / (end - start) * columns
        if each <= _APART:
            continue
        ticks = [number * step for number in range(math.ceil(start / step - 1e-9), int(end / step + 1e-9) + 1)]
        widest = max((len(fmt.time_tick(at)) for at in ticks), default=0)
        if each >= widest + _APART:
            return ticks
    return []


def x_range(now: float, zoom: float | None) -> tuple[float, float]:
    """Ends of the x-axis at second `now` of the run. They move in jumps, so that the curve rarely shifts."""
    if zoom is None:
        return 0.0, next(end for end in _ends_of_whole() if end >= now)
    jump = zoom / 10
    end = max(zoom, math.ceil(now / jump) * jump)
    return end - zoom, end


def _ends_of_whole() -> Iterator[float]:
    yield from _WHOLE
    days, factor = _WHOLE[-10:], 10
    while True:
        yield from (end * factor for end in days)
        factor *= 10
