"""What the trainer prints, followed as it is written and turned into a bounded stream of lines."""

from __future__ import annotations

import os
from pathlib import Path

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import LogLine

LINES_PER_SECOND = 20
"""More would drown the record; the rest is in trainer.log, and how many were left out is said."""
MAX_CHARACTERS = 2000
_READ_BYTES = 1 << 18
_MAX_PENDING = 1 << 16


class TrainerLog:
    """Follows one log file. `poll` is called about once a second and never blocks."""

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
        # A trainer that prints without end must not hold the supervisor: what is behind is skipped next time.
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
            # Nothing follows for now that could say it.
            found.append(LogLine(text="…", skipped=self._skipped))
            self._skipped = 0
        return found

    def _take(self, line: bytes, found: list[LogLine], allowed: int) -> None:
        if self._cut:
            # The end of a line whose beginning was already shown.
            self._cut = False
            return
        # A progress bar rewrites its line with carriage returns: its last state is what counts.
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
