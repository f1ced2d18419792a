"""Prints tables as aligned columns of plain text."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]], limit: int | None = None) -> Iterator[str]:
    """Aligned columns, each line cut to `limit` cells. Cells must not contain control characters."""
    widths = [max(cell_len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        line = "  ".join(set_cell_size(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if limit is not None and cell_len(line) > limit:
            line = set_cell_size(line, limit - 1) + "…"
        yield line


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns, in a terminal cut to its width. Cells must not contain control characters."""
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in table_lines(header, rows, limit):
        print(line)
