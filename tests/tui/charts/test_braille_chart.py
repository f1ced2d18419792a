"""The chart, cell by cell."""

from __future__ import annotations

import pytest

from gputrain.tui.charts.braille_chart import Plot, draw
from gputrain.tui.charts.chart_axes import nice_step, x_range, x_ticks
from gputrain.tui.charts.history import Curve, History
from gputrain.tui.render.format import byte_tick, tick


def curve(*points: tuple[float, float]) -> Curve:
    history = History()
    for x, y in points:
        history.add(x, y)
    return history.curve()


def rows(plot: Plot, width: int, height: int) -> list[str]:
    return ["".join(text for text, _ in line) for line in draw(plot, width, height)]


def plot(points: Curve, **changes: object) -> Plot:
    known: dict[str, object] = {"low": 0, "high": 4, "end": 5, "label": tick}
    return Plot(curve=points, **{**known, **changes})  # type: ignore[arg-type]


def test_a_rising_line() -> None:
    rising = curve(*((x / 2, x / 2.25) for x in range(10)))
    assert rows(plot(rising), 12, 3) == [
        "4┤    ⢀⣀⠤⠔⠊⠁",
        "0┤⣀⠤⠒⠊⠁     ",
        "  0      5 s",
    ]


def test_a_rising_line_in_ascii() -> None:
    rising = curve(*((x / 2, x / 2.25) for x in range(10)))
    shown = rows(plot(rising, ascii=True), 12, 3)
    assert shown[:2] == ["4┤    __.-''", "0┤_.-''     "]


def test_a_jump_is_joined() -> None:
    step = curve((0, 0.0), (1, 0.0), (2, 4.0), (3, 4.0), (4, 4.0))
    assert rows(plot(step), 12, 3)[:2] == ["4┤   ⡠⠋⠉⠉⠉⠁ ", "0┤⣀⣀⡰⠁      "]


def test_a_constant_has_a_range_around_it() -> None:
    flat = curve((0, 0.5), (1, 0.5))
    shown = rows(plot(flat, low=None, high=None), 20, 9)
    labels = [row[: row.index("┤")].strip() for row in shown if "┤" in row]
    assert len(labels) == len(set(labels)) >= 2


def test_marks_stand_on_the_line_with_their_own_role() -> None:
    line = curve((0, 0.0), (5, 4.0))
    drawn = draw(plot(line, marks=((2.5, 2.0, "★", "warn"),)), 20, 9)
    assert [role for row in drawn for text, role in row if text == "★"] == ["warn"]


def test_marks_outside_the_range_are_left_out() -> None:
    line = curve((0, 0.0), (5, 4.0))
    assert "★" not in "".join(rows(plot(line, marks=((7.0, 2.0, "★", "warn"),)), 20, 9))


def test_nothing_to_show_is_said() -> None:
    shown = rows(plot(Curve()), 30, 5)
    assert len(shown) == 5
    assert "no values yet" in shown[2]


def test_no_room_draws_nothing() -> None:
    assert draw(plot(curve((0, 1))), 11, 5) == []
    assert draw(plot(curve((0, 1))), 40, 1) == []


def test_every_row_has_the_width_that_was_asked_for() -> None:
    wild = curve(*((x / 100, (x * 7919) % 997) for x in range(500)))
    for width in (12, 33, 80):
        for height in (2, 3, 12):
            assert {len(row) for row in rows(plot(wild, low=None, high=None), width, height)} == {width}


def test_a_new_value_changes_only_its_own_end_of_the_rows() -> None:
    points = [(x, 2 + (x % 3)) for x in range(40)]
    before = rows(plot(curve(*points), end=60, high=6), 60, 8)
    after = rows(plot(curve(*points, (40, 4.0)), end=60, high=6), 60, 8)
    changed = [
        column for old, new in zip(before, after, strict=True) for column in range(60) if old[column] != new[column]
    ]
    assert changed
    assert max(changed) - min(changed) <= 2


def test_steps_of_axes_are_round() -> None:
    assert [nice_step(rough) for rough in (0.9, 1, 1.2, 2.2, 3, 7, 0.03)] == [1, 1, 2, 2.5, 5, 10, 0.05]


def test_the_x_axis_moves_in_jumps() -> None:
    assert x_range(10, None) == x_range(59, None) == (0, 60)
    assert x_range(61, None) == x_range(89, None) == (0, 90)
    assert x_range(1000, 300) == x_range(1019, 300) == (720, 1020)
    assert x_range(10, 300) == (0, 300)


def test_a_run_of_any_length_fills_most_of_its_axis() -> None:
    length = 60.0
    while length < 6e7:
        length *= 1.07
        end = x_range(length, None)[1]
        assert 0.64 < length / end <= 1
        for columns in (11, 30, 80, 150):
            ticks = x_ticks(0, end, columns)
            assert len(ticks) >= (2 if columns >= 30 else 0), (end, columns)
            assert len(ticks) * 4 <= columns + 4


def test_times_below_the_axis_are_round() -> None:
    def axis(start: float, end: float, width: int) -> list[str]:
        line = rows(plot(curve((start, 1.0), (end, 2.0)), start=start, end=end), width, 4)[-1]
        return [part for part in line.split("  ") if part.strip()]

    assert [part.strip() for part in axis(0, 5400, 60)] == ["0", "30 min", "1 h", "1 h 30 min"]
    assert [part.strip() for part in axis(720, 1020, 40)] == ["12 min", "14 min", "16 min"]


def test_where_nothing_was_measured_there_is_no_line() -> None:
    points = [(float(x), 2.0) for x in range(600) if not 200 < x < 380]
    shown = rows(plot(curve(*points), end=600), 62, 4)
    filled = {column for row in shown[:-1] for column, sign in enumerate(row[2:]) if sign not in " │"}
    assert filled == {*range(21), *range(38, 60)}
    # Of a long record only parts were read: there the line goes on.
    shown = rows(plot(curve(*points), end=600, joined_until=600.0), 62, 4)
    assert {column for row in shown[:-1] for column, sign in enumerate(row[2:]) if sign not in " │"} == {*range(60)}


def test_points_far_apart_are_joined_where_all_are() -> None:
    shown = rows(plot(curve(*((x * 300.0, 2.0) for x in range(5))), end=1200), 42, 4)
    assert all(any(row[column] != " " for row in shown[:-1]) for column in range(2, 42))


@pytest.mark.parametrize("ascii_only", [False, True])
def test_short_dips_are_seen_however_long_the_run(ascii_only: bool) -> None:
    history = History()
    for x in range(100_000):
        history.add(float(x), 0.0 if x in (31_007, 77_777) else 4.0)
    shown = rows(plot(history.curve(), end=100_000, ascii=ascii_only), 102, 8)
    # A bucket of the history is at most two columns wide.
    lowest = [column for column, sign in enumerate(shown[6][2:]) if sign != " "]
    assert {column // 5 for column in lowest} == {6, 15}
    assert len(lowest) <= 6


def test_an_outlier_does_not_flatten_the_rest() -> None:
    history = History()
    for x in range(100_000):
        history.add(float(x), 100.0 if x == 50_000 else 1.0 + x % 3)
    shown = rows(plot(history.curve(), low=None, high=None, end=100_000), 60, 12)
    assert 3 < float(shown[0].partition("┤")[0]) <= 10
    assert shown[0].partition("┤")[2].strip()


def test_an_idle_disk_has_an_axis_of_whole_megabytes() -> None:
    idle = curve(*((float(x), 0.0) for x in range(5)))
    shown = rows(plot(idle, high=None, min_span=1e6, label=byte_tick), 40, 6)
    assert shown[0].startswith("1 MB/s┤")
    assert [byte_tick(value) for value in (0, 50e3, 12.5e6, 1.5e9)] == ["0", "50 kB/s", "12.5 MB/s", "1.5 GB/s"]


def test_curves_on_the_same_axes_keep_their_roles() -> None:
    level, rising = curve((0, 1), (5, 1)), curve((0, 0), (5, 4))
    both = draw(plot(level, more_curves=((rising, "copy"),)), 14, 5)
    roles = [{role for text, role in line if not text.isspace()} for line in both[:-1]]
    # The second curve is alone above the first, which is seen where they cross.
    assert roles[0] == {"dim", "copy"}
    assert set().union(*roles) == {"dim", "copy", "data"}
