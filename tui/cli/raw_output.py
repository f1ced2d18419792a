"""What a script of the user's own printed, byte for byte, on standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import AnyEvent, RunEnded
from gputrain.tui.state.run_store import RunStore

_CHUNK = 1 << 16


class RawOutput:
    """Copies the run's output whenever an event comes, about once a second, and at its end."""

    def __init__(self, directory: Path) -> None:
        self.store = RunStore()
        self._path = directory / "trainer.log"
        self._handle: int | None = None

    def take(self, event: AnyEvent) -> Iterator[str]:
        """No line: the output goes to standard output as it is. A command that did not start says nothing itself."""
        self.store.apply(event)
        if isinstance(event, RunEnded) and event.exit_code is None and event.error:
            print(f"gputrain-tui: {plain(event.reason, 500)}", file=sys.stderr)
        self._copy()
        return iter(())

    def _copy(self) -> None:
        if self._handle is None:
            try:
                self._handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                return
        while chunk := os.read(self._handle, _CHUNK):
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()

    def summary_lines(self, directory: str) -> list[str]:
        """None; the last of the output is copied."""
        del directory
        self._copy()
        return []
