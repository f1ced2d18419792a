"""Medians. Python's module statistics takes 5 ms of a start to import, for fractions and decimals as well."""

from __future__ import annotations

from collections.abc import Iterable


def median(values: Iterable[float]) -> float:
    """The middle value; of an even number the mean of both. Raises IndexError without values."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def median_low(values: Iterable[float]) -> float:
    """The middle value; of an even number the lower of both. Raises IndexError without values."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2]
