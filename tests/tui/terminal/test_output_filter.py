"""The filtered update paints the same cells as Textual's, with fewer bytes."""

from __future__ import annotations

from itertools import pairwise

import pyte
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate
from textual.strip import Strip

from gputrain.tui.terminal.output_filter import SpanUpdate, only_changes

WIDTH, HEIGHT = 40, 4
RED = Style(color="red")
CUTS = [0, 13, 30, WIDTH]

Rows = st.lists(st.text(alphabet="abc ━日", min_size=WIDTH, max_size=WIDTH), min_size=HEIGHT, max_size=HEIGHT)
Spans = st.lists(
    st.tuples(st.integers(0, HEIGHT - 1), st.integers(0, WIDTH - 1), st.integers(1, WIDTH)), min_size=1, max_size=5
)


def chops(rows: list[str]) -> list[dict[int, Strip | None]]:
    made: list[dict[int, Strip | None]] = []
    for row in rows:
        whole = Strip([Segment(row, RED)]).crop(0, WIDTH)
        made.append({x: whole.crop(x, end) for x, end in pairwise(CUTS)})
    return made


def update(kind: type[ChopsUpdate], rows: list[str], spans: list[tuple[int, int, int]]) -> str:
    return kind(chops(rows), spans, [CUTS[1:]] * len(rows)).render_segments(CONSOLE)


CONSOLE = Console(force_terminal=True, color_system="truecolor", legacy_windows=False, _environ={})


def painted(*sent: str) -> list[str]:
    screen = pyte.Screen(WIDTH, HEIGHT)
    stream = pyte.Stream(screen)
    for part in sent:
        stream.feed(part)
    return list(screen.display)


@given(before=Rows, after=Rows, spans=Spans)
def test_it_paints_the_same_cells(before: list[str], after: list[str], spans: list[tuple[int, int, int]]) -> None:
    spans = sorted((y, x1, x2) for y, x1, x2 in spans if x1 < x2) or [(0, 0, WIDTH)]
    narrow = [row.replace("日", "e") for row in before], [row.replace("日", "e") for row in after]
    first = update(SpanUpdate, narrow[0], [(y, 0, WIDTH) for y in range(HEIGHT)])
    shown = painted(first, update(SpanUpdate, narrow[1], spans))
    expected = [list(row) for row in narrow[0]]
    for y, x1, x2 in spans:
        expected[y][x1:x2] = narrow[1][y][x1:x2]
    assert shown == ["".join(row) for row in expected]


@given(after=Rows)
def test_wide_characters_are_painted_whole_where_whole_rows_are(after: list[str]) -> None:
    everything = [(y, 0, WIDTH) for y in range(HEIGHT)]
    assert painted(update(SpanUpdate, after, everything)) == painted(update(ChopsUpdate, after, everything))


def test_a_change_at_the_end_of_a_row_does_not_cost_the_row() -> None:
    rows = ["x" * WIDTH] * HEIGHT
    span = [(1, 28, 30)]
    assert len(update(SpanUpdate, rows, span)) < len(update(ChopsUpdate, rows, span)) / 1.5


def test_only_textuals_own_partial_updates_are_replaced() -> None:
    plain = ChopsUpdate(chops(["x" * WIDTH]), [(0, 0, 3)], [CUTS[1:]])
    assert type(only_changes(plain)) is SpanUpdate
    assert only_changes("text") == "text"
    assert only_changes(None) is None
