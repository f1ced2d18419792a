"""Lines have an exact width for any content."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from gputrain.tui.render import styled_lines
from gputrain.tui.render.ascii_replacements import to_ascii
from gputrain.tui.render.styled_lines import Line

Texts = st.text(alphabet="ab █日本…é", max_size=12)


@given(st.lists(Texts, max_size=5), st.integers(0, 40))
def test_a_fitted_line_has_exactly_its_width(texts: list[str], cells: int) -> None:
    fitted = styled_lines.fit(tuple((text, "text") for text in texts), cells)
    assert styled_lines.width(fitted) == cells


@given(Texts, st.integers(0, 20))
def test_cut_text_never_takes_more_cells(text: str, cells: int) -> None:
    assert cell_len(styled_lines.cut(text, cells)) <= cells
    assert cell_len(styled_lines.pad(text, cells)) == cells
    assert cell_len(styled_lines.right(text, cells)) == cells


@given(st.text(alphabet="ab cd日", max_size=60), st.integers(4, 30), st.integers(1, 4))
def test_wrapped_text_keeps_to_its_rows_and_cells(text: str, cells: int, most: int) -> None:
    rows = styled_lines.wrap(text, cells, most)
    assert len(rows) <= most
    assert all(cell_len(row) <= cells for row in rows)


def test_wrapping_breaks_between_words_and_marks_the_cut() -> None:
    assert styled_lines.wrap("the loop waits for data", 10, 3) == ["the loop", "waits for", "data"]
    assert styled_lines.wrap("the loop waits for data", 10, 2) == ["the loop", "waits for…"]


@pytest.mark.parametrize(
    ("fraction", "drawn"),
    [(0.0, "──────"), (0.5, "━━━───"), (0.25, "━╸────"), (1.0, "━━━━━━"), (7.0, "━━━━━━"), (None, "······")],
)
def test_bars(fraction: float | None, drawn: str) -> None:
    assert "".join(text for text, _ in styled_lines.bar(fraction, 6, "data")) == drawn


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4), st.integers(1, 60))
def test_a_stacked_bar_is_never_longer_or_shorter(shares: list[float], cells: int) -> None:
    whole = sum(shares) or 1.0
    parts = [(share / max(whole, 1.0), "█", "data") for share in shares]
    drawn = styled_lines.stacked(parts, cells)  # type: ignore[arg-type]
    assert styled_lines.width(drawn) == cells


def test_groups_are_whole_or_not_there() -> None:
    one, two, three = (styled_lines.line(text) for text in ("load 14", "4.1 GHz", "pressure 8 %"))
    joined: Line = styled_lines.groups(17, one, two, three)
    assert "".join(text for text, _ in joined) == "load 14  4.1 GHz"


@given(st.text(max_size=60))
def test_ascii_takes_the_same_cells(text: str) -> None:
    from gputrain.engine.common.sanitize import plain

    shown = plain(text)
    assert to_ascii(shown).isascii()
    assert len(to_ascii(shown)) == cell_len(shown)


def test_signs_have_readable_stand_ins() -> None:
    assert to_ascii("▲ 8 workers ──▶ ▕━━──▏ ● 日") == "^ 8 workers --> |==--| * ??"
