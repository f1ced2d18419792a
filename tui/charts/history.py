"""Histories of bounded size: the recent points as they came, and the whole run downsampled.

The whole run is kept in at most `CAPACITY` buckets; when they are full, neighbours are merged and each
bucket holds twice as many points from then on. So a history of 10 million points costs as much memory as
one of a thousand, and depends on the points alone, not on when it was looked at.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from statistics import median_low
from typing import NamedTuple

CAPACITY = 512
"""Buckets of the whole run: two for each column of dots of the widest usual chart."""
RECENT = 900
"""Points that are kept as they came; a quarter of an hour at one a second."""
_GAP_POINTS, _GAP_SECONDS = 8, 10
"""Where so many of the usual distances between two points are without one, and so much of x, nothing is known."""


Extremes = tuple[float, float]
"""Smallest and largest of some values."""


class Bucket(NamedTuple):
    """Some neighbouring points: where they begin and end, and their smallest, mean and largest value."""

    first: float
    last: float
    low: float
    mean: float
    high: float
    points: int


class Curve(NamedTuple):
    """A history as it was at one moment; never changes."""

    whole: tuple[Bucket, ...] = ()
    recent: tuple[Bucket, ...] = ()

    def since(self, start: float) -> tuple[Bucket, ...]:
        """What is known from x = `start` on, as finely as it is known."""
        if self.recent and (start >= self.recent[0].first or len(self.whole) <= 1):
            return tuple(point for point in self.recent if point.first >= start)
        return tuple(bucket for bucket in self.whole if bucket.last >= start)


def pieces(buckets: Sequence[Bucket], joined_until: float = 0.0) -> list[Sequence[Bucket]]:
    """`buckets` apart where nothing was measured for long; up to x = `joined_until` the points were only not read."""
    distances = [after.first - before.last for before, after in pairwise(buckets)]
    if not distances:
        return [buckets] if buckets else []
    longest = max(_GAP_SECONDS, _GAP_POINTS * median_low(distances))
    found, first = [], 0
    for number, distance in enumerate(distances, 1):
        if distance > longest and buckets[number].first > joined_until:
            found.append(buckets[first:number])
            first = number
    return [*found, buckets[first:]]


class History:
    """Points (x, y) with x never falling, kept in bounded memory."""

    def __init__(self, capacity: int = CAPACITY, recent: int = RECENT) -> None:
        assert capacity % 2 == 0
        self._capacity = capacity
        self._recent: deque[Bucket] = deque(maxlen=recent)
        self._buckets: list[Bucket] = []
        self._width = 1
        self._curve: Curve | None = Curve()

    def add(self, x: float, y: float, extremes: Extremes | None = None) -> None:
        """Take one point. `extremes`: of what it is the mean of."""
        self._curve = None
        low, high = extremes or (y, y)
        point = Bucket(x, x, low, y, high, 1)
        self._recent.append(point)
        if self._buckets and self._buckets[-1].points < self._width:
            self._buckets[-1] = _merge(self._buckets[-1], point)
            return
        if len(self._buckets) == self._capacity:
            pairs = zip(self._buckets[::2], self._buckets[1::2], strict=True)
            self._buckets = [_merge(first, second) for first, second in pairs]
            self._width *= 2
        self._buckets.append(point)

    def curve(self) -> Curve:
        """The history as it is now."""
        if self._curve is None:
            self._curve = Curve(tuple(self._buckets), tuple(self._recent))
        return self._curve


class DownsampledHistory:
    """A history that gets at most one point per `step` of x: the weighted mean of what came in between."""

    def __init__(self, step: float = 1.0) -> None:
        self._history = History()
        self._step = step
        self._since: float | None = None
        self._sum = 0.0
        self._weight = 0.0
        self._low, self._high = math.inf, -math.inf

    def add(self, x: float, y: float, weight: float = 1.0, extremes: Extremes | None = None) -> None:
        """Take a value that stands for `weight` (seconds, steps …) up to `x`; `extremes`: of what it is the mean of."""
        if weight <= 0:
            return
        low, high = extremes or (y, y)
        self._low, self._high = min(self._low, low), max(self._high, high)
        self._sum += y * weight
        self._weight += weight
        if self._since is None or x - self._since >= self._step:
            self._history.add(x, self._sum / self._weight, (self._low, self._high))
            self._since, self._sum, self._weight = x, 0.0, 0.0
            self._low, self._high = math.inf, -math.inf

    def curve(self) -> Curve:
        """The history up to its last whole step."""
        return self._history.curve()


def _merge(first: Bucket, second: Bucket) -> Bucket:
    count = first.points + second.points
    mean = first.mean + (second.mean - first.mean) * (second.points / count)
    return Bucket(first.first, second.last, min(first.low, second.low), mean, max(first.high, second.high), count)
