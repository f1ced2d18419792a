"""Metric histories of bounded size: the recent points, and the whole run downsampled.

The whole run is kept in at most `CAPACITY` buckets. When they are full, neighbors are merged, and from then on each
bucket holds twice as many points. So the memory does not grow with the number of points, and the result depends only
on the points.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from statistics import median_low
from typing import NamedTuple

CAPACITY = 512
"""Buckets of the whole run: two per dot column of the widest usual chart."""
RECENT = 900
"""Recent points kept unmerged: 15 minutes at one per second."""
_GAP_POINTS, _GAP_SECONDS = 8, 10
"""A gap is longer than this many usual distances between points, and than this many seconds."""


Extremes = tuple[float, float]
"""Smallest and largest value."""


class Bucket(NamedTuple):
    """Merged neighboring points: first and last x; smallest, mean and largest value."""

    first: float
    last: float
    low: float
    mean: float
    high: float
    points: int


class Curve(NamedTuple):
    """An immutable copy of a history."""

    whole: tuple[Bucket, ...] = ()
    recent: tuple[Bucket, ...] = ()

    def since(self, start: float) -> tuple[Bucket, ...]:
        """The buckets from x = `start` on, in the finest resolution available."""
        if self.recent and (start >= self.recent[0].first or len(self.whole) <= 1):
            return tuple(point for point in self.recent if point.first >= start)
        return tuple(bucket for bucket in self.whole if bucket.last >= start)


def segments(buckets: Sequence[Bucket], joined_until: float = 0.0) -> list[Sequence[Bucket]]:
    """Split `buckets` at gaps in the measurement; gaps up to x = `joined_until` (record read in part) are ignored."""
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
    """Points (x, y) with non-decreasing x, kept in bounded memory."""

    def __init__(self, capacity: int = CAPACITY, recent: int = RECENT) -> None:
        assert capacity % 2 == 0
        self._capacity = capacity
        self._recent: deque[Bucket] = deque(maxlen=recent)
        self._buckets: list[Bucket] = []
        self._width = 1
        self._curve: Curve | None = Curve()

    def add(self, x: float, y: float, extremes: Extremes | None = None) -> None:
        """Add one point. `extremes`: of the values whose mean it is."""
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
        """A copy of the history."""
        if self._curve is None:
            self._curve = Curve(tuple(self._buckets), tuple(self._recent))
        return self._curve


class DownsampledHistory:
    """A history with at most one point per `step` of x: the weighted mean of the values in between."""

    def __init__(self, step: float = 1.0) -> None:
        self._history = History()
        self._step = step
        self._since: float | None = None
        self._sum = 0.0
        self._weight = 0.0
        self._low, self._high = math.inf, -math.inf

    def add(self, x: float, y: float, weight: float = 1.0, extremes: Extremes | None = None) -> None:
        """Add a value with a `weight` (seconds, steps …) at `x`; `extremes`: of the values whose mean it is."""
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
        """A copy of the history up to its last complete step."""
        return self._history.curve()


def _merge(first: Bucket, second: Bucket) -> Bucket:
    count = first.points + second.points
    mean = first.mean + (second.mean - first.mean) * (second.points / count)
    return Bucket(first.first, second.last, min(first.low, second.low), mean, max(first.high, second.high), count)
