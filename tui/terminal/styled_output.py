"""Styled text at given cells as few bytes for the terminal. Pure.

Rich sends all codes of a style before each piece of text, and a reset after it: about 45 bytes for a figure of two.
Here pieces of one style are sent together, and between two styles only the codes that differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from rich.cells import cell_len
from rich.color import ColorSystem
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

Piece = tuple[int, int, Sequence[Segment]]
"""Row, first column, and what is painted there."""
_PLAIN = ""
_ENDS = {"1": "22", "2": "22", "3": "23", "4": "24", "5": "25", "7": "27", "9": "29"}
"""The code that ends each attribute; after others everything is reset."""


class _Text(NamedTuple):
    row: int
    column: int
    text: str


class _Codes(NamedTuple):
    """The codes of a style: attributes (bold, reverse …), foreground and background; empty where it has none."""

    attributes: tuple[str, ...] = ()
    foreground: str = _PLAIN
    background: str = _PLAIN


def cut(strip: Strip, start: int, stop: int) -> Sequence[Segment]:
    """The cells `start` to `stop` of `strip`. As its method `crop`, without an object for each cut."""
    if start <= 0 and stop >= strip.cell_length:
        return list(strip)
    found: list[Segment] = []
    first = 0
    for text, style, control in strip:
        end = first + len(text)
        if cell_len(text) != len(text) or control:
            return list(strip.crop(start, stop))
        if end > start:
            found.append(Segment(text[max(0, start - first) : stop - first], style))
        if end >= stop:
            break
        first = end
    return found


def encode(pieces: Iterable[Piece], color_system: ColorSystem, columns: int) -> str:
    """The text to send so that a terminal of `columns` columns paints `pieces`, none of which may overlap."""
    by_codes: dict[_Codes, list[_Text]] = {}
    links: list[str] = []
    for row, first, part in pieces:
        column = first
        for text, style, control in part:
            if control or not text:
                continue
            if style is not None and style.link:
                links.append(_move(row, column) + style.render(text, color_system=color_system))
            else:
                codes = _codes(style, color_system) if style is not None else _Codes()
                by_codes.setdefault(codes, []).append(_Text(row, column, text))
            column += cell_len(text)
    sent: list[str] = []
    now = _Codes()
    for codes in sorted(by_codes):
        sent += (_change(now, codes), *_placed(by_codes[codes], columns))
        now = codes
    if now != _Codes():
        sent.append("\x1b[0m")
    return "".join(sent + links)


def _placed(texts: Sequence[_Text], columns: int) -> Iterator[str]:
    """The texts of one style, each after a move of the cursor where it is not there already."""
    cursor = (-1, -1)
    for row, column, text in texts:
        if cursor != (row, column):
            near = cursor[0] == row and cursor[1] < column
            yield _forward(column - cursor[1]) if near else _move(row, column)
        yield text
        end = column + cell_len(text)
        # Behind the last column terminals differ in where a relative move starts.
        cursor = (row, end) if end < columns else (-1, -1)


def _move(row: int, column: int) -> str:
    return f"\x1b[{row + 1};{column + 1}H" if column else f"\x1b[{row + 1}H"


def _forward(columns: int) -> str:
    return f"\x1b[{columns}C" if columns > 1 else "\x1b[C"


def _change(before: _Codes, after: _Codes) -> str:
    """The sequence that changes the style of a terminal."""
    codes: list[str] = []
    ended = [one for one in before.attributes if one not in after.attributes]
    kept = [one for one in before.attributes if one in after.attributes]
    if ended and all(one in _ENDS for one in ended):
        ends = {_ENDS[one] for one in ended}
        codes += sorted(ends)
        # Bold and dim have one end.
        kept = [one for one in kept if _ENDS.get(one) not in ends]
    elif ended:
        codes.append("0")
        before, kept = _Codes(), []
    codes += [one for one in after.attributes if one not in kept]
    if before.foreground != after.foreground:
        codes.append(after.foreground or "39")
    if before.background != after.background:
        codes.append(after.background or "49")
    return f"\x1b[{';'.join(codes)}m" if codes else ""


@lru_cache(256)
def _codes(style: Style, color_system: ColorSystem) -> _Codes:
    rendered = style.without_color.render("x", color_system=color_system)
    foreground, background = style.color, style.bgcolor
    return _Codes(
        tuple(rendered[2 : rendered.index("m")].split(";")) if rendered != "x" else (),
        ";".join(foreground.downgrade(color_system).get_ansi_codes()) if foreground else _PLAIN,
        ";".join(background.downgrade(color_system).get_ansi_codes(foreground=False)) if background else _PLAIN,
    )
