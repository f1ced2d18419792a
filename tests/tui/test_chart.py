"""The chart, cell by cell."""

from __future__ import annotations

from gputrain.tui.format import tick
from gputrain.tui.history import Curve, History
from gputrain.tui.widgets.chart import Plot, draw, nice_step, x_range


def curve(*points: tuple[float, float]) -> Curve:
    history = History()
    for x, y in points:
        history.add(x, y)
    return history.curve()


def rows(plot: Plot, width: int, height: int) -> list[str]:
    return ["".join(text for text, _ in line) for line in draw(plot, width, height)]


def plot(points: Curve, **changes: object) -> Plot:
    known: dict[str, object] = {"low": 0, "high": 4, "end": 5, "left": "0", "right": "5", "label": tick}
    return Plot(curve=points, **{**known, **changes})  # type: ignore[arg-type]


def test_a_rising_line() -> None:
    rising = curve(*((x / 2, x / 2.25) for x in range(10)))
    assert rows(plot(rising), 12, 3) == [
        "4┤    ⢀⣀⠤⠔⠊⠁",
        "0┤⣀⠤⠒⠊⠁     ",
        "  0        5",
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
    assert "no figures yet" in shown[2]


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
    assert x_range(61, None) == x_range(74, None) == (0, 75)
    assert x_range(1000, 300) == x_range(1019, 300) == (720, 1020)
    assert x_range(10, 300) == (0, 300)


def test_curves_on_the_same_axes_keep_their_roles() -> None:
    level, rising = curve((0, 1), (5, 1)), curve((0, 0), (5, 4))
    both = draw(plot(level, others=((rising, "copy"),)), 14, 5)
    roles = [{role for text, role in line if not text.isspace()} for line in both[:-1]]
    # The second curve is alone above the first, which is seen where they cross.
    assert roles[0] == {"dim", "copy"}
    assert set().union(*roles) == {"dim", "copy", "data"}
