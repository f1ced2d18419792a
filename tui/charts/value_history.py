"""Metric histories of bounded size: the recent points, and the whole run downsampled.

The whole run is kept in at most `CAPACITY` buckets. When they are full, neighbors are merged, and from then on each
bucket holds twice as many points. So the memory does not grow with the number of points, and the result depends only
on the points.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

from gputrain.engine.common.medians import median_low
from gputrain.tui.charts.bucket_arrays import Bucket, BucketArrays, Buckets

CAPACITY = 512
"""Buckets of the whole run: two per dot column of the widest usual chart."""
RECENT = 900
"""Recent points kept unmerged: 15 minutes at one per second."""
_GAP_POINTS, _GAP_SECONDS = 8, 10
"""A gap is longer than this many usual distances between points, and than this many seconds."""


Extremes = tuple[float, float]
"""Smallest and largest value."""


class Curve(NamedTuple):
    """An immutable copy of a history."""

    whole: Sequence[Bucket] = ()
    recent: Sequence[Bucket] = ()

    @property
    def history(self) -> object:
        """The same object for all curves of one history."""
        return self.whole.history if isinstance(self.whole, Buckets) else self.whole

    def since(self, start: float) -> tuple[Bucket, ...]:
        """The buckets from x = `start` on, in the finest resolution available."""
        if self.recent and (start >= self.recent[0].first or len(self.whole) <= 1):
            return tuple(self.recent[bisect_left(self.recent, start, key=attrgetter("first")) :])
        return tuple(self.whole[bisect_left(self.whole, start, key=attrgetter("last")) :])


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
        self._capacity, self._kept = capacity, recent
        self._id = object()
        self._recent = BucketArrays()
        self._whole = BucketArrays()
        self._open: Bucket | None = None
        """The newest bucket of the whole run, which further points join."""
        self._width = 1
        self._curve: Curve | None = Curve()

    def add(self, x: float, y: float, extremes: Extremes | None = None) -> None:
        """Add one point. `extremes`: of the values whose mean it is."""
        self._curve = None
        low, high = extremes or (y, y)
        point = Bucket(x, x, low, y, high, 1)
        self._recent.append(point)
        if len(self._recent) >= 2 * self._kept:
            self._recent = self._recent.last_ones(self._kept)
        if self._open is not None and self._open.points < self._width:
            self._open = _merge(self._open, point)
            return
        if self._open is not None:
            self._whole.append(self._open)
        if len(self._whole) == self._capacity:
            self._whole = _halved(self._whole, self._width)
            self._width *= 2
        self._open = point

    def curve(self) -> Curve:
        """A copy of the history."""
        if self._curve is None:
            last = len(self._recent)
            recent = Buckets(self._recent, max(0, last - self._kept), last, 1, None, self._id)
            self._curve = Curve(Buckets(self._whole, 0, len(self._whole), self._width, self._open, self._id), recent)
        return self._curve


def _halved(full: BucketArrays, points: int) -> BucketArrays:
    """Each two neighbors as one; `points`: of each bucket before."""
    halved, buckets = BucketArrays(), Buckets(full, 0, len(full), points, None, None)
    for first, second in zip(buckets[::2], buckets[1::2], strict=True):
        halved.append(_merge(first, second))
    return halved


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
