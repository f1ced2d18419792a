"""What a figure on the screen is: its words, its source, its range and what is good."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from gputrain.tui.render import format as fmt
from gputrain.tui.state.run_snapshot import Snapshot

Level = Literal["plain", "good", "warn", "bad"]
Show = Callable[[float | None], str]
"""A value in words."""
Getter = Callable[[Snapshot], float | None]


class Metric(Struct, frozen=True, kw_only=True):
    """One figure."""

    key: str
    title: str
    unit: str
    panel: str
    help: str
    """What it is, in a sentence."""
    source: str
    """Where it comes from."""
    advice: str = ""
    """What is good, in words; empty where nothing can be said in general."""
    get: Getter | None = None
    """Its present value; None for figures of which there are several (one per GPU)."""
    show: Show = fmt.figure
    low: float | None = None
    """The chart's range; None: from the data."""
    high: float | None = None
    least: float = 0.0
    """The chart's range is at least so long."""
    good: tuple[float, float] | None = None
    """Range in which it should be."""
    warn_above: float | None = None
    bad_above: float | None = None
    warn_below: float | None = None

    def level(self, value: float | None) -> Level:
        """How good `value` is; colours and words follow from it."""
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
        """How a tick of its axis is shown: with the unit of its values, without needless digits."""
        return fmt.byte_tick if self.show is fmt.byte_rate else self.show
