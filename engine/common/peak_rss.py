"""Peak resident memory (RSS) of this process."""

from __future__ import annotations

import contextlib
from pathlib import Path

_RESET_PEAK = "5"
"""Resets ``VmHWM`` when written to clear_refs (Linux Documentation/filesystems/proc.rst)."""


def reset() -> None:
    """Restart the measurement of `peak`."""
    # Some containers forbid it: `peak` is then that of the process so far.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK)


def peak() -> int | None:
    """Peak RSS in bytes since `reset`; None if the kernel does not provide it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
