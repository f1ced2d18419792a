"""Exported SVGs: every word has its own position, and nothing is loaded from the network."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from helpers.tui.dashboards import opened, trained
from helpers.tui.scriptedsource import ScriptedSource
from helpers.tui.svg_text import text

from gputrain.engine.events import LogLine
from gputrain.tui.render.svg_picture import portable


async def test_the_picture_holds_the_screen_cell_by_cell() -> None:
    source = trained()
    source.feed(LogLine(text='a <b> & "c" 日本 é'))
    async with opened(source, (120, 35)) as pilot:
        drawn = pilot.app.export_screenshot()
        ET.fromstring(drawn)
        shown = [strip.text.rstrip() for strip in pilot.app.screen._compositor.render_strips()]
    rows = text(drawn).splitlines()
    # A wide sign takes two cells, in the picture as a sign and a blank.
    assert [row.replace("日 本 ", "日本") for row in rows] == shown
    assert "@font-face" not in drawn
    assert not re.search(r"url\(\s*[\"']?http", drawn)


async def test_no_piece_is_so_long_that_it_could_drift() -> None:
    async with opened(ScriptedSource(), (120, 35)) as pilot:
        drawn = pilot.app.export_screenshot()
    pieces = re.findall(r'<text class="[^"]*-r\d+"[^>]*>([^<]*)</text>', drawn)
    assert max(len(piece) for piece in pieces if not piece.isascii()) <= 8
    assert all(" " not in piece and "\xa0" not in piece and "&#160;" not in piece for piece in pieces)


def test_what_is_no_picture_of_a_terminal_stays_as_it_is() -> None:
    assert portable("<svg><text>x</text></svg>") == "<svg><text>x</text></svg>"
