"""The most memory that this process had resident."""

from __future__ import annotations

import contextlib
from pathlib import Path

_RESET_PEAK = "5"
"""What resets ``VmHWM`` (Documentation/filesystems/proc.rst, clear_refs)."""


def reset() -> None:
    """The next `peak` counts from now on."""
    # Some containers forbid it: the peak is then that of the whole process, which is larger or the same.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK)


def peak() -> int | None:
    """Bytes since `reset`; None: the kernel does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
