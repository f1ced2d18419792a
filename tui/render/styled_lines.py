"""Lines of text with color roles: pure helpers that fit, wrap, align and draw bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import cells as rich_cells
from rich.cells import set_cell_size

from gputrain.tui.render.theme import Role

Span = tuple[str, Role]
Line = tuple[Span, ...]
"""One row of a panel from left to right. Texts contain no control characters."""

EMPTY: Line = ()


def line(*spans: Span | str) -> Line:
    """A line of `spans`; a plain string gets the role ``text``."""
    return tuple((span, "text") if isinstance(span, str) else span for span in spans)


def cell_len(text: str) -> int:
    """Width of `text` in cells. As Rich's, which takes three times as long for ASCII, of which most texts are."""
    return len(text) if text.isascii() else rich_cells.cell_len(text)


def width(of: Iterable[Span]) -> int:
    """Width in cells; wide characters take two."""
    return sum(cell_len(text) for text, _ in of)


def cut(text: str, cells: int) -> str:
    """`text` shortened to at most `cells` cells, with an ellipsis."""
    if cell_len(text) <= cells:
        return text
    return set_cell_size(text, cells - 1).rstrip() + "…" if cells > 0 else ""


def pad(text: str, cells: int) -> str:
    """`text` left-aligned in exactly `cells` cells."""
    left = cells - cell_len(text)
    return text + " " * left if left >= 0 else set_cell_size(cut(text, cells), cells)


def right(text: str, cells: int) -> str:
    """`text` right-aligned in exactly `cells` cells."""
    text = cut(text, cells)
    return " " * (cells - cell_len(text)) + text


def fit(spans: Line, cells: int) -> Line:
    """The line cut or padded to exactly `cells` cells."""
    left = cells - width(spans)
    if left >= 0:
        return (*spans, (" " * left, "text")) if left else spans
    fitted: list[Span] = []
    left = cells
    for text, role in spans:
        taken = cell_len(text)
        if taken > left:
            fitted.append((pad(text, left), role))
            break
        fitted.append((text, role))
        left -= taken
    return tuple(span for span in fitted if span[0])


def spread(start: Line, end: Line, cells: int) -> Line:
    """`start` on the left and `end` on the right; `start` is cut if they overlap."""
    room = cells - width(end)
    return fit((*fit(start, max(0, room - 1)), (" ", "text"), *end), cells) if room > 1 else fit(start, cells)


def groups(cells: int, *wholes: Line) -> Line:
    """As many of `wholes` as fit side by side, two cells apart; only the first may be cut."""
    joined: list[Span] = []
    for whole in wholes:
        if not whole:
            continue
        if joined and width(joined) + 2 + width(whole) > cells:
            break
        joined += [("  ", "text"), *whole] if joined else whole
    return tuple(joined)


def wrap(text: str, cells: int, most: int) -> list[str]:
    """`text` wrapped between words to at most `most` rows of `cells` cells; the rest is cut."""
    rows: list[str] = []
    row = ""
    words = text.split()
    for number, word in enumerate(words):
        longer = f"{row} {word}" if row else word
        if cell_len(longer) <= cells:
            row = longer
            continue
        if len(rows) == most - 1:
            return [*rows, cut(" ".join([row, *words[number:]]).strip(), cells)]
        if row:
            rows.append(row)
        row = cut(word, cells)
    return [*rows, row] if row else rows


def bar(fraction: float | None, cells: int, role: Role) -> Line:
    """A horizontal bar with a resolution of half a cell; for None a track of dots."""
    if cells <= 0:
        return EMPTY
    if fraction is None:
        return (("·" * cells, "track"),)
    full, half = divmod(round(min(1.0, max(0.0, fraction)) * cells * 2), 2)
    drawn = "━" * full + "╸" * half
    return tuple(span for span in ((drawn, role), ("─" * (cells - len(drawn)), "track")) if span[0])


def stacked(parts: Sequence[tuple[float, str, Role]], cells: int) -> Line:
    """A bar of several parts (share, character, role), exactly `cells` long by largest remainders."""
    exact = [share * cells for share, _, _ in parts]
    lengths = [int(length) for length in exact]
    whole = min(cells, round(sum(exact)))
    order = sorted(range(len(parts)), key=lambda i: lengths[i] - exact[i])
    for index in order[: max(0, whole - sum(lengths))]:
        lengths[index] += 1
    drawn = [(sign * n, role) for n, (_, sign, role) in zip(lengths, parts, strict=True) if n]
    rest = cells - sum(lengths)
    return (*drawn, ("·" * rest, "track")) if rest > 0 else tuple(drawn)
