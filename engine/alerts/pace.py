"""Whether a run has become slower than it was: rates by the minute of training. Pure."""

from __future__ import annotations

import statistics

from gputrain.engine.events import Steps

_MINUTE = 60.0
_FIRST = 1
"""Minutes at the start that do not count: caches fill, kernels are chosen."""
_KNOWN = 4
"""Minutes that make a pace of its own."""
_SLOW_MINUTES = 2
"""Minutes in a row that must be slow."""


class Pace:
    """Images per second of each minute of training time, validation and pauses left out."""

    def __init__(self, slow_percent: float) -> None:
        """`slow_percent`: how much slower than the median of its earlier minutes counts as slow; 0: never."""
        self._limit = 1 - slow_percent / 100 if slow_percent else 0.0
        self._minutes: list[float] = []
        self._images = self._seconds = 0.0
        self._slow = 0

    def feed(self, steps: Steps) -> tuple[float, float] | None:
        """(rate now, rate before) in images per second when the run has become slow, once until it recovers."""
        self._seconds += steps.window_seconds
        self._images += steps.images_per_second * steps.window_seconds
        if self._seconds < _MINUTE:
            return None
        rate = self._images / self._seconds
        self._images = self._seconds = 0.0
        known = self._minutes[_FIRST:]
        usual = statistics.median(known) if len(known) >= _KNOWN else 0.0
        if usual and rate < usual * self._limit:
            # Slow minutes are no part of the usual pace, or it would follow them.
            self._slow += 1
            return (rate, usual) if self._slow == _SLOW_MINUTES else None
        self._slow = 0
        self._minutes.append(rate)
        return None

    def restart(self) -> None:
        """The run was resumed, or its data loading changed: its pace is learned anew."""
        self._minutes.clear()
        self._images = self._seconds = 0.0
        self._slow = 0
