"""Argument types that check numbers and terminal sizes given on the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TypeVar

from gputrain.engine.common.numbers import number, why_no_number
from gputrain.engine.common.sanitize import plain

_Number = TypeVar("_Number", int, float)


def _within(kind: type[_Number], low: _Number, high: _Number, what: str) -> Callable[[str], _Number]:
    """An argparse type for numbers from `low` to `high`, in the grammar of settings; `what` names them in errors."""

    def checked(text: str) -> _Number:
        found = number(text) if len(text) <= _LONGEST else None
        if found is not None and low <= found <= high and kind(found) == found:
            return kind(found)
        hint = why_no_number(text) if found is None and not text.startswith("-") else ""
        raise argparse.ArgumentTypeError(f"must be {what}, got '{plain(text, 40)}'{hint}")

    return checked


_LONGEST = 40
"""Longer words are no numbers of an option."""
count = _within(int, 1, sys.maxsize, "a whole number ≥ 1")
trace_steps = _within(int, 1, 100, "a number of steps from 1 to 100")
sample_seconds = _within(float, 0.2, 3600.0, "0.2 to 3600 seconds")
"""Seconds between two samples of the monitor."""
hang_seconds = _within(float, 0.0, 1e9, "a number of seconds ≥ 0")
measuring_seconds = _within(float, 5.0, 600.0, "a number of seconds from 5 to 600")
"""Duration of a calibration in seconds."""
gpu_index = _within(int, 0, 1023, "the index of a GPU")
process_id = _within(int, 1, 2**22, "a process id")
port = _within(int, 1024, 65535, "a port from 1024 to 65535")
"""A TCP port that needs no root privileges."""


_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def byte_size(text: str) -> int:
    """Bytes, parsed from ``256M``: at least 1 MiB."""
    unit = text[-1:].lower() if text[-1:].lower() in ("k", "m", "g") else ""
    number = text[: len(text) - len(unit)]
    if number.isascii() and number.isdecimal() and 1 << 20 <= (found := int(number) * _UNITS[unit]) <= 1 << 40:
        return found
    raise argparse.ArgumentTypeError(f"must be a size from 1M to 1024G, got '{plain(text, 40)}'")


short_side = _within(int, 16, 16384, "a whole number of pixels from 16 to 16384")
jpeg_quality = _within(int, 1, 100, "a JPEG quality from 1 to 100")


def size(text: str) -> tuple[int, int]:
    """Columns and rows of a terminal, parsed from ``200x50``."""
    columns, _, rows = text.lower().replace("×", "x").partition("x")
    given = [int(side) if side.isascii() and side.isdecimal() and len(side) < 5 else 0 for side in (columns, rows)]
    if 60 <= given[0] <= 500 and 15 <= given[1] <= 200:
        return given[0], given[1]
    raise argparse.ArgumentTypeError(f"must be columns x rows from 60x15 to 500x200, got '{plain(text, 40)}'")


def address(text: str) -> tuple[str, int]:
    """Host and port of a server, parsed from ``:9400``, ``0.0.0.0:9400`` or ``[::1]:9400``; loopback by default."""
    host, colon, number_text = text.rpartition(":")
    if not colon or (":" in host and not (host.startswith("[") and host.endswith("]"))):
        raise argparse.ArgumentTypeError(f"must be ADDRESS:PORT or :PORT, as :9400, got '{plain(text, 60)}'")
    return host.strip("[]") or "127.0.0.1", port(number_text)
