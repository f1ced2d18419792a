"""The smallest window that the screens can be drawn in, and the text in a smaller one. Pure."""

from __future__ import annotations

SMALLEST = (60, 15)
"""Smallest usable window in columns and rows."""


def too_small(columns: int, rows: int) -> str:
    """The text for a smaller window."""
    return f"terminal too small: needs {SMALLEST[0]}×{SMALLEST[1]}, has {columns}×{rows}"
