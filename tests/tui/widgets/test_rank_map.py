"""The heat map of ranks, and its panel."""

from __future__ import annotations

import pytest
from helpers.tui.drawing import roles, text
from helpers.tui.rank_runs import RankRun

from gputrain.tui.render import styled_lines
from gputrain.tui.render.ascii_replacements import to_ascii
from gputrain.tui.state.rank_history import RankColumn, RankTimes
from gputrain.tui.state.run_store import RunStore
from gputrain.tui.widgets.panel import View
from gputrain.tui.widgets.panels.rank_map import LEGENDS, MEASURES, Measure, cells, fold, map_lines, sign
from gputrain.tui.widgets.panels.ranks import draw_ranks


def seen(run: RankRun, seconds: int = 30) -> View:
    store = RunStore()
    store.apply_all(run.events(seconds))
    return View(now=store.snapshot(), caught_up=True)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 64, 100, 512])
@pytest.mark.parametrize("rows", [1, 2, 5, 14, 40])
@pytest.mark.parametrize("per_node", [0, 4, 8])
def test_each_rank_is_in_one_row(count: int, rows: int, per_node: int) -> None:
    groups = fold(count, rows, per_node)
    assert len(groups) <= rows
    assert [rank for one in groups for rank in range(one.first, one.last + 1)] == list(range(count))


def test_rows_are_parts_of_nodes_or_whole_nodes() -> None:
    assert [one.label for one in fold(16, 9, 8)] == ["0–1", "2–3", "4–5", "6–7", "8–9", "10–11", "12–13", "14–15"]
    assert [one.label for one in fold(64, 5, 8)] == ["0–15", "16–31", "32–47", "48–63"]
    assert fold(8, 0) == []


def column(**own: float) -> RankColumn:
    made = RankColumn()
    for name, seconds in own.items():
        made.add(int(name[1:]), RankTimes(1, 1.0, 0.0, 1.0 - seconds))
    return made


def test_a_row_shows_its_slowest_rank() -> None:
    made = column(r0=0.5, r1=0.5, r2=0.5, r3=0.9)
    assert cells(made, "own", 0.5, fold(4, 2)) == ("·", "█")
    assert cells(made, "own", 0.5, fold(4, 4)) == ("·", "·", "·", "█")
    assert cells(made, "exchange", 0.0, fold(4, 4)) == ("█", "█", "█", "▒")
    assert cells(column(r0=0.5), "own", 0.5, fold(2, 2)) == ("·", " ")


@pytest.mark.parametrize(("measure", "value", "shown"), [("own", 1.04, "·"), ("step", 1.1, "▒"), ("wait", 0.2, "▄")])
def test_signs(measure: Measure, value: float, shown: str) -> None:
    assert sign(measure, value, 1.0) == shown
    assert sign(measure, None, 1.0) == " "


def test_signs_differ_without_colours_and_without_utf8() -> None:
    for legend in LEGENDS.values():
        signs = [to_ascii(one[0]) for one in legend]
        assert len(set(signs)) == len(signs) == 4
        assert all(one.isascii() for one in signs)


def test_the_newest_columns_are_shown() -> None:
    columns = [column(r0=0.5, r1=0.5)] * 5 + [column(r0=0.5, r1=0.9)] * 2
    assert text(map_lines(columns, "own", 0.5, fold(2, 2), 4)) == "····\n··██"
    assert styled_lines.width(map_lines(columns, "own", 0.5, fold(2, 2), 20)[0]) == 20


@pytest.mark.parametrize("count", [2, 8, 64, 512])
@pytest.mark.parametrize(("columns", "rows"), [(40, 3), (76, 20), (76, 2), (116, 4), (100, 13), (196, 46)])
@pytest.mark.parametrize("measure", list(MEASURES))
def test_the_panel_fits(count: int, columns: int, rows: int, measure: Measure) -> None:
    view = VIEWS.setdefault(count, seen(RankRun(count, slow={1: 0.2}, clocks={1: 1005})))
    drawn = draw_ranks(view, measure, columns, rows)
    assert 0 < len(drawn) <= rows
    assert all(styled_lines.width(one) <= columns for one in drawn)
    assert f"{count} ranks" in text(drawn)
    assert "▲ slow rank 1, GPU 1 of atlas" in text(drawn) or columns < 60
    if rows > 3:
        assert "▶" in text(drawn)


VIEWS: dict[int, View] = {}


def test_nodes_and_the_origin_of_slowness() -> None:
    view = seen(RankRun(64, slow=dict.fromkeys(range(8), 0.2), clocks=dict.fromkeys(range(8), 1005)))
    drawn = draw_ranks(view, "own", 120, 40)
    shown = text(drawn)
    assert "64 ranks on 8 nodes" in shown
    assert "▲ slow node atlas: its 8 ranks take 32 % of a step longer" in shown
    assert roles(drawn, "slow node") == {"bad"}
    listed = shown[shown.index("node  ") :].splitlines()
    assert listed[0].split()[:4] == ["node", "ranks", "own", "time"]
    assert listed[1].startswith("atlas")
    assert "8 GPUs" in listed[1]
    assert "not sampled" in listed[2]
    assert "overlap" in shown


def test_before_the_first_report() -> None:
    assert "no step times" in text(draw_ranks(View(), "own", 80, 10))
