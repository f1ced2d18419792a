"""The input filter passes keys and reports, and drops everything that Textual cannot read."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual._xterm_parser import XTermParser
from textual.events import Key, Paste

from gputrain.tui.terminal.input_filter import MAX_PASTE, PASTE_SECONDS, InputFilter


def filtered(*chunks: bytes) -> str:
    keys = InputFilter()
    return "".join(keys.feed(chunk) for chunk in chunks)


@pytest.mark.parametrize(
    "data",
    [
        "q",
        "é€😀",
        "\r\t\x7f\x03\x00",
        "\x1ba",
        "\x1b[A",
        "\x1bOP",
        "\x1b[1;5C",
        "\x1b[15~",
        "\x1b[[A",
        "\x1b[<0;10;10M\x1b[<35;120;7m",
        "\x1b[I\x1b[O",
        "\x1b[97;1;97u",
        "\x1b[?2026;2$y",
        "\x1b[48;35;120;700;1200t",
        "\x1b[200~some text\nsome more\x1b[201~",
    ],
)
def test_keys_and_reports_pass(data: str) -> None:
    assert filtered(data.encode()) == data


@pytest.mark.parametrize("sequence", [key for key in ANSI_SEQUENCES_KEYS if len(key) > 1])
def test_all_keys_that_textual_knows_pass(sequence: str) -> None:
    keys = InputFilter()
    # A sequence that begins with two escapes is an Escape before a key.
    assert keys.feed(sequence.encode()) + keys.flush() in (sequence, "\x1b")


STRAY = {
    "bytes that are no UTF-8": b"\xff\xfe\xe9\xe0",
    "an old mouse report": b"\x1b[M \xe9\xf0",
    "an old mouse report of keys": b"\x1b[M dq",
    "a reply on attributes": b"\x1b[?1;2c",
    "a reply on the cursor": b"\x1b[24;80R",
    "a reply on the version": b"\x1bP>|XTerm(388)\x1b\\",
    "a reply on the background": b"\x1b]11;rgb:1e1e/1e1e/1e1e\x07",
    "a reply that ends as 8-bit": b"\x90>|term q\x9c",
    "an impossible key": b"\x1b[1114112;1;1114112u",
    "half of a character as a key": b"\x1b[55296;1;55296u",
    "a key with alternatives": b"\x1b[97:65;2u",
    "a window without size": b"\x1b[48;0;0;0;0t",
    "a window without pixels": b"\x1b[48;24;80;0;0t",
    "an endless sequence": b"\x1b[" + b"1;" * 200 + b"m",
    "a sequence that breaks off": b"\x1b[<0;10\n",
    "a long control string": b"\x1b]52;c;" + b"q" * 70_000 + b"\x07",
}


@pytest.mark.parametrize("name", STRAY)
def test_stray_input_is_dropped_and_the_next_key_passes(name: str) -> None:
    assert filtered(STRAY[name]).strip("\n") == ""
    assert filtered(STRAY[name], b"\x1b[A").endswith("\x1b[A")
    for at in range(min(len(STRAY[name]), 40)):
        assert filtered(STRAY[name][:at], STRAY[name][at:], b"\x1b[A").strip("\n") == "\x1b[A", at
    assert filtered(*(STRAY[name][at : at + 1] for at in range(len(STRAY[name]))), b"\x1b[A").strip("\n") == "\x1b[A"


@pytest.mark.parametrize("introducer", [b"\x9b", b"\xc2\x9b"], ids=["8-bit", "UTF-8"])
def test_c1_introducers_begin_sequences(introducer: bytes) -> None:
    assert filtered(introducer + b"<0;5;5Mq") == "\x1b[<0;5;5Mq"
    assert filtered(introducer, b"?1;2cq") == "q"


def test_what_is_incomplete_ends_when_no_more_comes() -> None:
    for data, ends in ((b"\x1b", "\x1b"), (b"\x1b[", "\x1b["), (b"\x1b[<0;1", ""), (b"\xe2\x82", ""), (b"\x1b[M ", "")):
        keys = InputFilter()
        assert keys.feed(data) == ""
        seconds = keys.timeout
        assert seconds is not None
        assert keys.flush() == ends
        assert keys.timeout is None
        assert keys.feed(b"q") == "q"


def test_a_paste_without_end_is_ended() -> None:
    keys = InputFilter()
    assert keys.feed(b"\x1b[200~lost q") == "\x1b[200~lost q"
    assert keys.timeout == PASTE_SECONDS
    assert keys.flush() == "\x1b[201~"
    assert keys.feed(b"q") == "q"


def test_a_paste_loses_what_is_no_text_and_what_is_too_long() -> None:
    assert filtered(b"\x1b[200~caf\xe9 \xc3\xa9\x1b[31m\x00\x9b!\x1b[201~q") == "\x1b[200~caf é[31m!\x1b[201~q"
    text = filtered(b"\x1b[200~", *[b"x" * 65536] * 20, b"\x1b[201~q")
    assert len(text) == MAX_PASTE + 13
    assert text.endswith("x\x1b[201~q")


PARTS = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([*STRAY.values(), b"\x1b", b"\x1b[", b"\x1b[200~", b"\x1b[201~", b"\x1b[M", b"\x9b", b"\xc2\x9b"]),
    st.builds(lambda a, b: b"\x1b[%d;%du" % (a, b), st.integers(0, 2_000_000), st.integers(0, 2_000_000)),
    st.builds(lambda a, b: b"\x1b[48;%d;%d;%d;%dt" % (a, b, a, b), st.integers(0, 9999), st.integers(0, 9999)),
    st.builds(lambda a, b: b"\x1b[<%d;%d;%dM" % (a, b, b), st.integers(0, 255), st.integers(-9, 9999)),
)


@given(st.lists(PARTS, max_size=12))
@example([b"\x1b[48;24;80;0;0t", b"\x1b[<0;5;5M"])
@example([b"\x1b[1114112;1;1u"])
@example([b"\xff"])
def test_textual_reads_all_that_passes(parts: list[bytes]) -> None:
    keys, parser = InputFilter(), XTermParser()
    for part in parts:
        if text := keys.feed(part):
            list(parser.feed(text))
    if text := keys.flush():
        list(parser.feed(text))
    found = list(parser.feed("\x1b[201~" + "q" * 40))
    assert any(isinstance(event, Key | Paste) for event in found)


@given(st.lists(PARTS, max_size=6), st.data())
def test_chunks_change_nothing(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    ends = [0, *cuts, len(whole)]
    assert filtered(*(whole[a:b] for a, b in pairwise(ends))) == filtered(whole)
