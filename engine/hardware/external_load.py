"""External load: cores that other programs use during a measurement."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

_TICK = 1 / os.sysconf("SC_CLK_TCK")


class ExternalLoad:
    """Counts from its creation on, over the whole host, whatever part of it this process may use."""

    def __init__(self) -> None:
        self._began, self._busy, self._own = time.monotonic(), _busy(), _own()

    def cores(self) -> float | None:
        """Mean number of cores used by other programs so far; None where the kernel does not report it."""
        busy, seconds = _busy(), time.monotonic() - self._began
        if busy is None or self._busy is None or seconds <= 0:
            return None
        return max(0.0, (busy - self._busy - (_own() - self._own)) / seconds)


def _busy() -> float | None:
    """Busy core-seconds of the host since boot (the first line of ``/proc/stat``)."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, *_ = (int(field) for field in fields)
    return (user + nice + system + irq + softirq) * _TICK


def _own() -> float:
    """Core-seconds of this process and its workers."""
    process = psutil.Process()
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.Error:
            continue  # just ended
        total += times.user + times.system
    # The parent's sum contains the time of workers that ended.
    return total + process.cpu_times().children_user + process.cpu_times().children_system
