"""Sets of time spans: union, difference, length. Pure."""

from __future__ import annotations

from collections.abc import Iterable

Intervals = list[tuple[float, float]]
"""Disjoint, in order."""


def union(*parts: Iterable[tuple[float, float]]) -> Intervals:
    """The time that is in any of `parts`."""
    merged: Intervals = []
    for begin, end in sorted(interval for part in parts for interval in part):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        elif end > begin:
            merged.append((begin, end))
    return merged


def difference(first: Intervals, second: Intervals) -> Intervals:
    """The time of `first` that is not in `second`."""
    found: Intervals = []
    place = 0
    for start, end in first:
        begin = start
        while place < len(second) and second[place][1] <= begin:
            place += 1
        at = place
        while at < len(second) and second[at][0] < end:
            if second[at][0] > begin:
                found.append((begin, second[at][0]))
            begin = max(begin, second[at][1])
            at += 1
        if begin < end:
            found.append((begin, end))
    return found


def length(intervals: Intervals) -> float:
    """Seconds of all together."""
    return sum(end - begin for begin, end in intervals)
