"""Definition of a metric: title, meaning, source, range and good values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from gputrain.tui.render import format as fmt
from gputrain.tui.state.run_snapshot import Snapshot

Level = Literal["plain", "good", "warn", "bad"]
Show = Callable[[float | None], str]
"""Formats a value."""
Getter = Callable[[Snapshot], float | None]


class Metric(Struct, frozen=True, kw_only=True):
    """One metric."""

    key: str
    title: str
    unit: str
    panel: str
    help: str
    """Its meaning in one sentence."""
    source: str
    """How it is measured."""
    advice: str = ""
    """Good values as text; empty if there is no general rule."""
    get: Getter | None = None
    """Returns its current value; None for metrics with several values (one per GPU)."""
    show: Show = fmt.figure
    low: float | None = None
    """Lower end of the chart; None: from the data."""
    high: float | None = None
    min_span: float = 0.0
    """Smallest length of the y-axis."""
    good: tuple[float, float] | None = None
    """Range of good values."""
    warn_above: float | None = None
    bad_above: float | None = None
    warn_below: float | None = None

    def level(self, value: float | None) -> Level:
        """The level of `value`, which selects its color."""
        if value is None:
            return "plain"
        if self.bad_above is not None and value > self.bad_above:
            return "bad"
        if self.warn_above is not None and value > self.warn_above:
            return "warn"
        if self.warn_below is not None and value < self.warn_below:
            return "warn"
        return "good" if self.good is not None and self.good[0] <= value <= self.good[1] else "plain"

    @property
    def tick(self) -> Show:
        """The formatter for axis ticks."""
        return fmt.byte_tick if self.show is fmt.byte_rate else self.show
