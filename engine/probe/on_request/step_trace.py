"""Records some steps of the running training with torch's profiler, on request. Nothing of it is left afterwards.

It runs in our own trainer and, as a part of the probe, in a script of a user's own, so it imports no torch itself and
never raises: the training comes first.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

LEAST_FREE = 256 << 20
"""Bytes that must be free on the disk of the trace."""
MAX_STEPS = 100
MAX_SECONDS = 120.0
"""A recording ends with the step that reaches this time: the profiler keeps what it records in memory."""


class StepTrace:
    """At most one recording at a time."""

    def __init__(self) -> None:
        self._profiler: Any | None = None
        self._path = ""
        self._wanted = 0
        self._began = 0.0
        self.steps = 0
        """Steps recorded so far."""

    @property
    def recording(self) -> bool:
        """Whether steps are being recorded."""
        return self._profiler is not None

    def forget(self) -> None:
        """A forked child does not record."""
        self._profiler = None

    def begin(self, path: str, steps: int) -> str:
        """Record the next `steps` steps for the file `path`; returns why that is impossible, empty if it began."""
        try:
            why = _no_room(path)
            if why:
                return why
            # torch would cancel the recording of a profiler that the script has started itself.
            if sys.modules["torch"].autograd._profiler_enabled():
                return "another profiler is recording in this process"
            profiling = sys.modules["torch"].profiler
            kinds = profiling.ProfilerActivity
            wanted = [kinds.CPU]
            if sys.modules["torch"].cuda.is_initialized():
                wanted.append(kinds.CUDA)
            profiler = profiling.profile(activities=wanted, with_stack=True)
            profiler.start()
        except Exception as error:  # noqa: BLE001 - another profiler, or one that cannot start
            return "torch's profiler cannot start: " + _words(error)
        self._profiler, self._path, self._wanted = profiler, path, max(1, min(steps, MAX_STEPS))
        self.steps, self._began = 0, time.monotonic()
        return ""

    def step_done(self) -> bool:
        """A step ended; returns whether the recording is complete: call `end`."""
        self.steps += 1
        return self.steps >= self._wanted or time.monotonic() - self._began > MAX_SECONDS

    def end(self) -> str:
        """Write the recorded steps; returns why that failed, empty if the file is there."""
        profiler, self._profiler = self._profiler, None
        if profiler is None:
            return "nothing is being recorded"
        try:
            profiler.stop()
        except Exception as error:  # noqa: BLE001 - the training goes on
            return "torch's profiler failed: " + _words(error)
        try:
            if not self.steps:
                return "no step was recorded"
            why = _no_room(self._path)
            if why:
                return why
            profiler.export_chrome_trace(self._path)
            if not os.path.getsize(self._path):
                return "the trace cannot be written: the file is empty"
        except Exception as error:  # noqa: BLE001 - a disk that is full, a folder that is gone
            _remove(self._path)
            return "the trace cannot be written: " + _words(error)
        return ""


def _no_room(path: str) -> str:
    found = os.statvfs(os.path.dirname(path))
    free = found.f_bavail * found.f_frsize
    if free >= LEAST_FREE:
        return ""
    return "the disk of %s has %d MiB left; a trace needs %d" % (os.path.dirname(path), free >> 20, LEAST_FREE >> 20)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def _words(error: BaseException) -> str:
    return "%s: %s" % (type(error).__name__, str(error).strip().splitlines()[0][:300] if str(error).strip() else "")
