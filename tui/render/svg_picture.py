"""Rich's picture of a terminal, made to look alike in every viewer and to ask nobody for anything.

Rich sets a whole stretch of a row at one place, trusts `textLength` to spread it, and fetches its font from a server.
Viewers without `textLength` (librsvg, and what builds on it) or without that font let rows drift apart. Here every word
and every sign of a drawing has a place of its own, and fonts that are there are named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape, unescape
from itertools import groupby

from rich.cells import cell_len

FONTS = "'DejaVu Sans Mono', 'Liberation Mono', Menlo, Consolas, monospace"
_CELL = 12.2
"""Width of a cell in Rich's pictures."""
_SIZE = 20.264
"""Of the letters, in which those of DejaVu are as wide as a cell."""
_REMOTE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_CLIPS = re.compile(r'<clipPath id="[^"]*-line-\d+">.*?</clipPath>\s*', re.DOTALL)
_TEXT = re.compile(
    r'<text class="(?P<class>[^"]*)" x="(?P<x>[\d.]+)" y="(?P<y>[\d.]+)" textLength="[\d.]+" clip-path="[^"]*">'
    r"(?P<text>[^<]*)</text>"
)
_TOGETHER = 8
"""Equal signs that are set as one: so many drift by a fraction of a pixel only."""


def portable(svg: str) -> str:
    """`svg`, as Rich exports a terminal, for every viewer."""
    svg = _CLIPS.sub("", _REMOTE.sub("", svg)).replace("font-family: Fira Code, monospace;", f"font-family: {FONTS};")
    return _TEXT.sub(_placed, svg.replace("font-size: 20px;", f"font-size: {_SIZE}px;", 1))


def _placed(found: re.Match[str]) -> str:
    start, pieces = float(found["x"]), []
    # Rich ends each row with a text of its own that is a line break.
    for cell, text in _pieces(unescape(found["text"]).replace("\xa0", " ").strip("\n")):
        cells = cell_len(text)
        length = f' textLength="{cells * _CELL:.1f}"' if cells > 1 else ""
        place = f'x="{start + cell * _CELL:.1f}" y="{found["y"]}"'
        pieces.append(f'<text class="{found["class"]}" {place}{length}>{escape(text)}</text>')
    return "".join(pieces)


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Words, and equal signs of a drawing, each with the cell where it begins."""
    cell = 0
    for kind, group in groupby(text, lambda sign: "word" if sign.isascii() and sign != " " else sign):
        piece = "".join(group)
        step = len(piece) if kind == "word" else _TOGETHER
        for first in range(0, len(piece), step):
            part = piece[first : first + step]
            if kind != " ":
                yield cell, part
            cell += cell_len(part)
