"""Which frames of a stack are those of libraries and of this program; all others are the user's own code."""

from __future__ import annotations

from pathlib import Path

_PARTS = (
    "site-packages/",
    "dist-packages/",
    "/lib/python3",
    "gputrain/engine/",
    # An editable installation has its sources elsewhere.
    f"{Path(__file__).resolve().parent.parent}/",
    "<frozen",
    "<string>",
    "<stdin>",
)


def is_library(place: str) -> bool:
    """Whether a file name, or a text that begins with one, is of a library or of this program."""
    return any(part in place for part in _PARTS)
