"""Keeps the rows of drawn charts for some seconds: a chart of half an hour needs no new drawing every second."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

from gputrain.tui.charts.value_history import Curve
from gputrain.tui.render.styled_lines import Line

_LONGEST = 5.0
"""Seconds for which a chart is kept at most."""
_CHARTS = 64


class _Held(NamedTuple):
    history: object
    drawn_from: Hashable
    lines: list[Line]


class HeldCharts:
    """Charts by name and size."""

    def __init__(self) -> None:
        self._held: dict[Hashable, _Held] = {}

    def lines(self, place: Hashable, curve: Curve, drawn_from: Hashable, make: Callable[[], list[Line]]) -> list[Line]:
        """The rows of the chart at `place`, from `make` if `drawn_from` or the history is another one than before."""
        if not curve.whole:
            return make()
        held = self._held.get(place)
        if held is None or held.history is not curve.history or held.drawn_from != drawn_from:
            if len(self._held) >= _CHARTS:
                # After many changes of the window's size.
                self._held.clear()
            held = self._held[place] = _Held(curve.history, drawn_from, make())
        return held.lines


def beat(elapsed: float, span: float, columns: int) -> float:
    """A number that changes when a chart is to be drawn again at second `elapsed` of the run.

    That is as often as the curve, `columns` cells wide and `span` seconds long, moves on by a dot, but at least every
    five seconds.
    """
    return elapsed // min(_LONGEST, span / (2 * columns))
