"""Panels cover the window without gaps or overlaps at any size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputrain.tui.layout.panel_layout import arrange
from gputrain.tui.layout.smallest_window import SMALLEST


@given(st.integers(60, 300), st.integers(15, 100), st.integers(0, 16), st.sampled_from([1, 2, 512]))
def test_every_cell_belongs_to_one_panel(width: int, height: int, gpus: int, ranks: int) -> None:
    places = arrange(width, height, gpus, ranks=ranks)
    assert sum(place.width * place.height for place in places.values()) == width * height
    cells = {
        (x, y)
        for place in places.values()
        for x in range(place.x, place.x + place.width)
        for y in range(place.y, place.y + place.height)
    }
    assert len(cells) == width * height
    assert max(x for x, _ in cells) == width - 1
    assert max(y for _, y in cells) == height - 1


@given(st.integers(60, 300), st.integers(15, 100), st.integers(0, 16), st.sampled_from([1, 2, 512]))
def test_panels_with_frames_have_room_for_them(width: int, height: int, gpus: int, ranks: int) -> None:
    for name, place in arrange(width, height, gpus, ranks=ranks).items():
        if name not in ("status", "keys", "compact"):
            assert place.height >= 3, (name, place)
            assert place.width >= 15, (name, place)


@pytest.mark.parametrize(("width", "height"), [(59, 15), (60, 14), (10, 5), (1, 1), (0, 0)])
def test_below_the_smallest_size_there_is_no_arrangement(width: int, height: int) -> None:
    assert SMALLEST == (60, 15)
    assert arrange(width, height) == {}


COMMON = {"pipeline", "hints", "throughput", "loss", "metric", "gpu", "cpu", "ram", "disk", "log", "run"}


@pytest.mark.parametrize(
    ("size", "gpus", "shown"),
    [
        (
            (200, 50),
            1,
            {*COMMON, "processes"},
        ),
        (
            (120, 35),
            1,
            COMMON,
        ),
        ((80, 24), 1, {"pipeline", "hints", "throughput", "run", "machine"}),
        ((80, 24), 8, {"pipeline", "hints", "run", "machine"}),
        ((60, 15), 1, {"compact"}),
    ],
)
def test_what_is_shown_at_the_four_sizes(size: tuple[int, int], gpus: int, shown: set[str]) -> None:
    assert set(arrange(*size, gpus)) == shown | {"status", "keys"}


@pytest.mark.parametrize(("size", "gpus"), [((200, 50), 8), ((120, 35), 8), ((80, 24), 1), ((80, 24), 8)])
def test_several_ranks_have_their_panel(size: tuple[int, int], gpus: int) -> None:
    assert arrange(*size, gpus, ranks=8)["ranks"].height >= 4
    assert "ranks" not in arrange(*size, gpus)


def test_eight_gpus_have_a_row_each_where_they_are_shown() -> None:
    assert arrange(200, 50, 8)["gpu"].height >= 10
    assert arrange(120, 35, 8)["gpu"].height >= 10
    assert arrange(80, 24, 8)["machine"].height >= 11


def test_a_full_screen_panel_has_the_whole_body() -> None:
    places = arrange(120, 35, 1, full="log")
    assert places["log"] == (0, 1, 120, 33)
    assert set(places) == {"status", "log", "keys"}
