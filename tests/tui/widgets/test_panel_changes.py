"""A panel sends what changed and nothing else."""

from __future__ import annotations

import threading

import pytest
from helpers.tui.scriptedsource import ScriptedSource
from hypothesis import given
from hypothesis import strategies as st
from rich.style import Style

from gputrain.engine.events import AnyEvent
from gputrain.tui.app import GpuTrainApp
from gputrain.tui.render.styled_lines import Line, fit
from gputrain.tui.render.theme import Palette
from gputrain.tui.screens.dashboard.dashboard import DashboardScreen
from gputrain.tui.screens.messages import FrameReady
from gputrain.tui.state.reader_thread import Frame
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.widgets.panel import _differences, _segments
from gputrain.tui.widgets.panels.status_line import StatusPanel

Lines = st.lists(st.tuples(st.text(alphabet="ab 日", max_size=8), st.sampled_from(["text", "dim"])), max_size=4)


@given(Lines, Lines)
def test_every_cell_that_differs_is_within_a_stretch(old: list[tuple[str, str]], new: list[tuple[str, str]]) -> None:
    before, after = fit(tuple(old), 20), fit(tuple(new), 20)  # type: ignore[arg-type]
    stretches = _differences(before, after)
    if before == after or "日" in str(before) + str(after):
        return
    was, now = _spread(before), _spread(after)
    for cell in range(20):
        if was[cell] != now[cell]:
            assert any(first <= cell < end for first, end in stretches)
    assert all(was[first] != now[first] and was[end - 1] != now[end - 1] for first, end in stretches)


def _spread(line: Line) -> list[tuple[str, str]]:
    return [(character, role) for text, role in line for character in text]


def test_wide_characters_are_sent_with_their_whole_row() -> None:
    assert _differences(fit((("日本", "text"),), 10), fit((("日木", "text"),), 10)) == [(0, 10)]


def test_blanks_cost_no_colour_of_their_own() -> None:
    colours: Palette = {"title": Style(color="blue"), "text": Style(color="white"), "bad": Style(reverse=True)}
    line: Line = ((" ", "text"), ("GPU", "title"), ("  ", "text"), ("71 %", "text"))
    assert [segment.text for segment in _segments(line, colours, False)] == [" GPU  ", "71 %"]
    # A reversed blank is seen: it keeps to itself.
    marked: Line = (("HOT", "bad"), ("  ", "text"), ("x", "text"))
    assert [segment.text for segment in _segments(marked, colours, False)] == ["HOT", "  x"]


async def test_the_same_view_again_redraws_nothing() -> None:
    source = ScriptedSource()
    source.feed_training(3)
    app = GpuTrainApp(source)
    async with app.run_test(size=(200, 50)) as pilot:
        screen = app.screen
        assert isinstance(screen, DashboardScreen)
        while not screen.view.caught_up:
            await pilot.pause(0.01)
        await pilot.pause()
        drawn: list[str] = []
        for panel in screen.query(StatusPanel):
            panel.draw = lambda *_: drawn.append("again") or []  # type: ignore[method-assign,func-returns-value]
            panel.show(screen.view)
        assert drawn == []


def test_a_newer_frame_replaces_one_that_waits() -> None:
    frame = FrameReady(Frame(now=Snapshot(), live=True, caught_up=True))
    assert frame.can_replace(FrameReady(Frame(now=Snapshot(), live=False, caught_up=True)))


async def test_a_source_that_never_answers_stops_no_key() -> None:
    released = threading.Event()

    class Stuck(ScriptedSource):
        def read(self, timeout: float = 0.5, limit: int = 5000) -> list[AnyEvent]:
            released.wait(20)
            return []

    app = GpuTrainApp(Stuck())
    async with app.run_test(size=(120, 35)) as pilot:
        await pilot.press("d")
        while app.quit_result is None:
            await pilot.pause(0.01)
        assert not released.is_set()
    released.set()
    assert app.quit_result.detached


async def test_an_error_of_this_program_is_not_hidden() -> None:
    class Wrong(ScriptedSource):
        def read(self, timeout: float = 0.5, limit: int = 5000) -> list[AnyEvent]:
            raise ValueError("a bug")

    async def until_it_ends() -> None:
        app = GpuTrainApp(Wrong())
        async with app.run_test() as pilot:
            while app.is_running:
                await pilot.pause(0.01)

    with pytest.raises(ValueError, match="a bug"):
        await until_it_ends()
