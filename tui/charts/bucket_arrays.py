"""Buckets of a history in arrays of numbers: a fourth of the memory that as many tuples take."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import NamedTuple, overload


class Bucket(NamedTuple):
    """Merged neighboring points: first and last x; smallest, mean and largest value."""

    first: float
    last: float
    low: float
    mean: float
    high: float
    points: int


class BucketArrays:
    """A list of buckets that only grows, so that `Buckets` can look at its beginning for ever."""

    __slots__ = ("first", "high", "last", "low", "mean")

    def __init__(self) -> None:
        self.first, self.last, self.low, self.mean, self.high = (array("d") for _ in range(5))

    def __len__(self) -> int:
        return len(self.first)

    def append(self, bucket: Bucket) -> None:
        """Add `bucket`, without its number of points."""
        self.first.append(bucket.first)
        self.last.append(bucket.last)
        self.low.append(bucket.low)
        self.mean.append(bucket.mean)
        self.high.append(bucket.high)

    def last_ones(self, count: int) -> BucketArrays:
        """A new list of the last `count` buckets."""
        kept = BucketArrays()
        for name in self.__slots__:
            setattr(kept, name, getattr(self, name)[-count:])
        return kept


class Buckets(Sequence[Bucket]):
    """Immutable: some of the buckets of a list, and one more."""

    __slots__ = ("_arrays", "_end", "_more", "_points", "_start", "history")

    def __init__(
        self, arrays: BucketArrays, start: int, end: int, points: int, more: Bucket | None, history: object
    ) -> None:
        """Those from `start` to `end`, which have `points` each, then `more`. `history`: tells histories apart."""
        self._arrays, self._start, self._end, self._points, self._more = arrays, start, end, points, more
        self.history = history

    def __len__(self) -> int:
        return self._end - self._start + (self._more is not None)

    def __iter__(self) -> Iterator[Bucket]:
        return iter(self._cut(0, len(self)))

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Buckets | tuple) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    @overload
    def __getitem__(self, index: int) -> Bucket: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Bucket, ...]: ...

    def __getitem__(self, index: int | slice) -> Bucket | tuple[Bucket, ...]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return self._cut(start, stop) if step == 1 else self._cut(0, len(self))[index]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(index)
        at = self._start + place
        if at == self._end:
            assert self._more is not None
            return self._more
        own = self._arrays
        return Bucket(own.first[at], own.last[at], own.low[at], own.mean[at], own.high[at], self._points)

    def _cut(self, start: int, stop: int) -> tuple[Bucket, ...]:
        own, part = self._arrays, slice(self._start + start, min(self._start + stop, self._end))
        columns = (own.first[part], own.last[part], own.low[part], own.mean[part], own.high[part])
        found = tuple(map(Bucket._make, zip(*columns, repeat(self._points), strict=False)))
        ends_with_more = self._more is not None and stop > max(start, self._end - self._start)
        return (*found, self._more) if ends_with_more and self._more is not None else found
