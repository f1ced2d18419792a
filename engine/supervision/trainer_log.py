"""Follows trainer.log (the trainer's stdout and stderr) and returns its lines at a limited rate."""

from __future__ import annotations

import os
from pathlib import Path

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import LogLine

LINES_PER_SECOND = 20
"""Limit for the record. The rest is in trainer.log; `LogLine.skipped` counts the lines left out."""
MAX_CHARACTERS = 2000
_READ_BYTES = 1 << 18
_MAX_PENDING = 1 << 16


class TrainerLog:
    """Follows one log file. `poll` never blocks; call it about once a second."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.lseek(self._file, 0, os.SEEK_END)
        self._rest = b""
        self._cut = False
        self._skipped = 0

    def poll(self, seconds: float) -> list[LogLine]:
        """Lines that were printed in the last `seconds`, at most `LINES_PER_SECOND` of them a second."""
        allowed = max(1, int(LINES_PER_SECOND * max(seconds, 1.0)))
        found: list[LogLine] = []
        # A trainer that prints without end must not block the supervisor: read at most 16 MiB per call.
        for _ in range(64):
            chunk = os.read(self._file, _READ_BYTES)
            if not chunk:
                break
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self._take(line, found, allowed)
            if len(self._rest) > _MAX_PENDING and not self._cut:
                self._take(self._rest, found, allowed)
                self._cut = True
            if self._cut:
                self._rest = b""
        if self._skipped and not found:
            # No line follows that could carry the count.
            found.append(LogLine(text="…", skipped=self._skipped))
            self._skipped = 0
        return found

    def _take(self, line: bytes, found: list[LogLine], allowed: int) -> None:
        if self._cut:
            # The end of a line whose start was returned before.
            self._cut = False
            return
        # A progress bar rewrites its line with carriage returns: keep the last state.
        shown = plain(line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace"), MAX_CHARACTERS).rstrip()
        if not shown:
            return
        if len(found) >= allowed:
            self._skipped += 1
            return
        found.append(LogLine(text=shown, skipped=self._skipped))
        self._skipped = 0

    def close(self) -> None:
        """Release the file."""
        os.close(self._file)
