"""Formats sizes and durations as text; what a throughput counts."""

from __future__ import annotations

from typing import Literal

Unit = Literal["images", "samples", "tokens", "steps"]
"""What a throughput counts. Scripts of the user's own may train on anything."""
PER_STEP_UNITS: tuple[Unit, ...] = ("images", "samples", "tokens")
"""Of these the user may say how many one update trains on."""

MIB = 1 << 20
GIB = 1 << 30


def size(count: float) -> str:
    """Bytes in words: ``59 GiB``, ``1.4 GiB``, ``147 MiB``."""
    if count >= GIB:
        return f"{count / GIB:.1f} GiB" if count < 10 * GIB else f"{count / GIB:.0f} GiB"
    return f"{count / MIB:.1f} MiB" if count < 10 * MIB else f"{count / MIB:.0f} MiB"


def duration(seconds: float) -> str:
    """Seconds in words: ``3 d 4 h``, ``2 h 14 min``, ``3 min 20 s``, ``8 s``."""
    whole = round(seconds)
    for unit, name, part, part_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // part} {part_name}"
    return f"{whole} s"


def per_second(unit: Unit) -> str:
    """The unit of a throughput: ``img/s``, ``samples/s``, ``tokens/s`` or ``steps/s``."""
    return "img/s" if unit == "images" else f"{unit}/s"
