"""Text made harmless: nothing that a terminal acts on is left."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputrain.engine.common.sanitize import plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words", "plain words"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]never ended", ""),
        ("\x1bP1$r0m\x1b\\x", "x"),
        ("a\tb\nc\r\nd", "a b c d"),
        ("bell\x07 back\x08 nul\0", "bell back nul"),
        ("\u202eevil\u202c", "evil"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("\ud800", "\ufffd"),
        ("naïve 日本語 🙂", "naïve 日本語 🙂"),
        ("non\u00a0breaking", "non breaking"),
        ("\x9b31mC1", "31mC1"),
    ],
)
def test_terminal_escapes_are_removed(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_long_text_is_cut_with_an_ellipsis() -> None:
    assert plain("x" * 10, 5) == "xxxx…"
    assert plain("x" * 5, 5) == "xxxxx"
    assert plain("\x1b[1m" * 20 + "x", 8) == "…", "what the scan did not reach counts as cut"
    assert len(plain("\x1b" * 10_000_000)) <= 4096


@given(
    st.text() | st.lists(st.sampled_from(["\x1b", "[", "]", "0;", "m", "\x07", "\\", "P", "\u202e", "x"])).map("".join)
)
def test_the_result_is_one_printable_line(text: str) -> None:
    shown = plain(text, 50)
    assert len(shown) <= 50
    assert all(c.isprintable() for c in shown), [unicodedata.category(c) for c in shown]
    assert "\x1b" not in shown
    assert plain(shown, 50) == shown
