"""Writes a file that the user named."""

from __future__ import annotations

from pathlib import Path

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.files import write_atomic

READABLE = 0o644
"""File mode: everybody may read exported files."""


def write_output(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically. Raises BadInput if the file cannot be written."""
    try:
        write_atomic(path, data, READABLE)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from None
