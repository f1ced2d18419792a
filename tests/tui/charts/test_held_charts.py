"""Charts are drawn again when they would look different, and no more often."""

from __future__ import annotations

from gputrain.tui.charts.held_charts import HeldCharts, beat
from gputrain.tui.charts.value_history import Curve, History
from gputrain.tui.render.styled_lines import Line


def history(points: int) -> History:
    made = History()
    for x in range(points):
        made.add(float(x), float(x))
    return made


def test_a_chart_is_kept_while_nothing_it_is_drawn_from_changes() -> None:
    held, drawn = HeldCharts(), []

    def make() -> list[Line]:
        drawn.append(1)
        return [(("x", "data"),)]

    growing = history(3)
    first = held.lines("loss", growing.curve(), 1, make)
    growing.add(4.0, 1.0)
    assert held.lines("loss", growing.curve(), 1, make) is first
    assert len(drawn) == 1
    held.lines("loss", growing.curve(), 2, make)
    held.lines("lr", growing.curve(), 2, make)
    assert len(drawn) == 3
    # Another run: its history is another one, though all else is the same.
    held.lines("loss", history(3).curve(), 2, make)
    assert len(drawn) == 4
    held.lines("empty", Curve(), 2, make)
    held.lines("empty", Curve(), 2, make)
    assert len(drawn) == 6


def test_charts_of_many_window_sizes_are_not_kept_for_ever() -> None:
    held, curve = HeldCharts(), history(3).curve()
    for columns in range(1000):
        held.lines(("loss", columns), curve, 1, list)
    assert len(held._held) <= 64


def test_a_chart_moves_with_its_dots_and_at_least_every_five_seconds() -> None:
    # 60 s in 60 cells of two dots: every half a second.
    assert [beat(second / 4, 60.0, 60) for second in range(5)] == [0, 0, 1, 1, 2]
    # Two hours: a dot takes a minute.
    beats = [beat(float(second), 7200.0, 60) for second in range(20)]
    assert len(set(beats)) == 4
