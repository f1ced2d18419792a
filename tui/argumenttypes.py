"""Checked values of command line options."""

from __future__ import annotations

import argparse

from gputrain.engine.text import plain

SHORTEST, LONGEST = 0.2, 3600.0
"""Seconds between two samples of the monitor."""


def count(text: str) -> int:
    """A whole number from 1 on."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number ≥ 1, got '{plain(text, 40)}'")
    return value


def seconds(text: str) -> float:
    """Seconds between two samples."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not SHORTEST <= value <= LONGEST:
        raise argparse.ArgumentTypeError(f"must be {SHORTEST:g} to {LONGEST:g} seconds, got '{plain(text, 40)}'")
    return value


def port(text: str) -> int:
    """A TCP port that any user may take."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1024 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"must be a port from 1024 to 65535, got '{plain(text, 40)}'")
    return value


def size(text: str) -> tuple[int, int]:
    """Columns and rows of a terminal, ``200x50``."""
    columns, _, rows = text.lower().replace("×", "x").partition("x")
    if columns.isdecimal() and rows.isdecimal() and 60 <= int(columns) <= 500 and 15 <= int(rows) <= 200:
        return int(columns), int(rows)
    raise argparse.ArgumentTypeError(f"must be columns x rows from 60x15 to 500x200, got '{plain(text, 40)}'")
