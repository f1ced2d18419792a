"""The text of an SVG picture of a screen."""

from __future__ import annotations

import re
from html import unescape

from rich.cells import cell_len


def text(picture: str) -> str:
    """What stands in an SVG, row by row: each piece in its cells."""
    rows: dict[float, dict[int, str]] = {}
    for x, y, piece in re.findall(r'<text class="[^"]*-r\d+" x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>', picture):
        row, cell = rows.setdefault(float(y), {}), round(float(x) / 12.2)
        for sign in unescape(piece):
            row[cell] = sign
            cell += max(1, cell_len(sign))
    lines = []
    for _, row in sorted(rows.items()):
        lines.append("".join(row.get(cell, " ") for cell in range(max(row) + 1)))
    return "\n".join(lines)
