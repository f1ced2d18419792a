"""Makes the SVG that Rich exports render the same in every viewer, without network access.

Rich positions a whole part of a row at once, relies on `textLength` to stretch it, and loads its font from a server.
In viewers without `textLength` (such as librsvg) or without that font the rows drift. Here every word and every drawing
character has its own position, and the fonts are common local ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape, unescape
from itertools import groupby

from rich.cells import cell_len

FONTS = "'DejaVu Sans Mono', 'Liberation Mono', Menlo, Consolas, monospace"
_CELL = 12.2
"""Width of a cell in Rich's SVG."""
_SIZE = 20.264
"""Font size at which a letter of DejaVu is as wide as a cell."""
_REMOTE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_CLIPS = re.compile(r'<clipPath id="[^"]*-line-\d+">.*?</clipPath>\s*', re.DOTALL)
_TEXT = re.compile(
    r'<text class="(?P<class>[^"]*)" x="(?P<x>[\d.]+)" y="(?P<y>[\d.]+)" textLength="[\d.]+" clip-path="[^"]*">'
    r"(?P<text>[^<]*)</text>"
)
_TOGETHER = 8
"""Most equal characters positioned as one text: they drift only by a fraction of a pixel."""


def portable(svg: str) -> str:
    """`svg` from Rich, converted for all viewers."""
    svg = _CLIPS.sub("", _REMOTE.sub("", svg)).replace("font-family: Fira Code, monospace;", f"font-family: {FONTS};")
    return _TEXT.sub(_placed, svg.replace("font-size: 20px;", f"font-size: {_SIZE}px;", 1))


def _placed(found: re.Match[str]) -> str:
    start, pieces = float(found["x"]), []
    # Rich ends each row with a separate text that contains a line break.
    for cell, text in _pieces(unescape(found["text"]).replace("\xa0", " ").strip("\n")):
        cells = cell_len(text)
        length = f' textLength="{cells * _CELL:.1f}"' if cells > 1 else ""
        place = f'x="{start + cell * _CELL:.1f}" y="{found["y"]}"'
        pieces.append(f'<text class="{found["class"]}" {place}{length}>{escape(text)}</text>')
    return "".join(pieces)


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Words and runs of equal drawing characters, each with its first cell."""
    cell = 0
    for kind, group in groupby(text, lambda sign: "word" if sign.isascii() and sign != " " else sign):
        piece = "".join(group)
        step = len(piece) if kind == "word" else _TOGETHER
        for first in range(0, len(piece), step):
            part = piece[first : first + step]
            if kind != " ":
                yield cell, part
            cell += cell_len(part)
