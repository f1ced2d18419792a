"""The filtered updates paint the same cells as Textual's, with fewer bytes."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import pyte
from helpers.tui.dashboards import dashboard, trained
from helpers.tui.piloting import until
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate
from textual.geometry import Region
from textual.strip import Strip

from gputrain.tui.app import GpuTrainApp
from gputrain.tui.terminal.output_filter import PiecesUpdate, SpanCompositor, SpanUpdate, only_changes
from gputrain.tui.terminal.styled_output import cut

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


def screen(*sent: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> pyte.Screen:
    shown = pyte.Screen(*size)
    stream = pyte.Stream(shown)
    for part in sent:
        stream.feed(part)
    return shown


def painted(*sent: str) -> list[str]:
    return list(screen(*sent).display)


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


STYLES = (
    None,
    Style(color="#d5daf0", bgcolor="#16161e", bold=True),
    Style(color="#a9b1d6", bgcolor="#16161e"),
    Style(color="#a9b1d6", bgcolor="#16161e", italic=True, strike=True),
    Style(color="red", bold=True, reverse=True),
    Style(bgcolor="blue", underline=True),
    Style(color="bright_black"),
    Style(bold=True),
)
Texts = st.lists(st.tuples(st.text(alphabet="ab ━日é", min_size=1, max_size=6), st.sampled_from(STYLES)), max_size=5)
Pieces = st.lists(st.tuples(st.integers(0, WIDTH - 1), Texts), min_size=HEIGHT, max_size=HEIGHT)


@given(placed=Pieces, system=st.sampled_from(["truecolor", "256", "standard"]))
def test_pieces_have_the_styles_that_rich_gives_them(
    placed: list[tuple[int, list[tuple[str, Style | None]]]], system: Literal["truecolor", "256", "standard"]
) -> None:
    console = Console(force_terminal=True, color_system=system, legacy_windows=False, _environ={})
    pieces = [
        (y, x, cut(Strip([Segment(text, style) for text, style in texts]), 0, WIDTH - x))
        for y, (x, texts) in enumerate(placed)
    ]
    for _, _, part in pieces:
        for _, style, _ in part:
            if style is not None:
                style._ansi = None  # Rich keeps it for the first color system that it meets
    by_rich = [f"\x1b[{y + 1};{x + 1}H" + Strip(part).render(console) for y, x, part in pieces]
    expected, shown = screen(*by_rich), screen(PiecesUpdate(pieces, WIDTH).render_segments(console))
    for row in range(HEIGHT):
        for column in range(WIDTH):
            assert shown.buffer[row][column] == expected.buffer[row][column], (row, column)
    # Whatever is sent next begins without a style.
    assert shown.cursor.attrs == pyte.Screen(1, 1).cursor.attrs


@given(texts=Texts, start=st.integers(0, WIDTH), stop=st.integers(0, WIDTH))
def test_a_cut_is_textuals_crop(texts: list[tuple[str, Style | None]], start: int, stop: int) -> None:
    strip = Strip([Segment(text, style) for text, style in texts])
    stop = min(stop, strip.cell_length)
    if start < stop:
        assert Strip(cut(strip, start, stop)).simplify() == strip.crop(start, stop).simplify()


def test_a_style_is_sent_once_for_all_its_pieces() -> None:
    bright = STYLES[1]
    pieces = [(y, 3, [Segment("71", bright), Segment("  "), Segment("%", bright)]) for y in range(HEIGHT)]
    sent = PiecesUpdate(pieces, WIDTH).render_segments(CONSOLE)
    assert sent.count("38;2;213;218;240") == 1
    assert len(sent) < sum(len(Strip(part).render(CONSOLE)) for _, _, part in pieces) / 2


async def test_an_update_paints_what_is_in_front() -> None:
    """With a notification over the panels, and for any part of the screen."""
    app = GpuTrainApp(trained(gpus=8))
    async with app.run_test(size=(200, 50), notifications=True) as pilot:
        await until(pilot, lambda: dashboard(pilot).view.caught_up)
        app.notify("in front of the panels", timeout=600)
        compositor = dashboard(pilot)._compositor
        assert isinstance(compositor, SpanCompositor)
        await until(pilot, lambda: "in front of" in "\n".join(strip.text for strip in compositor.render_strips()))
        whole = screen("\r\n".join(strip.render(CONSOLE) for strip in compositor.render_strips()), size=(200, 50))
        for region in (Region(0, 0, 200, 50), Region(90, 30, 110, 20), Region(150, 44, 7, 3), Region(-5, 48, 30, 9)):
            compositor._dirty_regions.add(region)
            update = compositor.render_partial_update()
            assert update is not None
            shown = screen(update.render_segments(CONSOLE), size=(200, 50))
            for row in range(max(0, region.y), min(50, region.bottom)):
                for column in range(max(0, region.x), min(200, region.right)):
                    assert shown.buffer[row][column] == whole.buffer[row][column], (row, column)
        assert compositor.render_partial_update() is None
