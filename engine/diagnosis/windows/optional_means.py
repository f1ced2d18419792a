"""Weighted means of values of which some were not measured. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable


def mean(values: Iterable[tuple[float | None, float]]) -> float | None:
    """Weighted mean of ``(value, weight)`` pairs, without values that are None; None without any."""
    known = [(value, weight) for value, weight in values if value is not None and weight > 0]
    if not known:
        return None
    return math.fsum(value * weight for value, weight in known) / math.fsum(weight for _, weight in known)
