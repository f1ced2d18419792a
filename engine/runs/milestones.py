"""Milestones: a copy of the important events of a record in ``milestones.jsonl``.

A very long record is opened by its outline (`runs.record_outline`): samples of the record, and all milestones.
"""

from __future__ import annotations

import os
from pathlib import Path

from gputrain.engine.events import (
    AnyEvent,
    CheckpointSaved,
    CommandTaken,
    DataReady,
    EpochEnded,
    HintsChanged,
    LoaderStats,
    ModelReady,
    Notice,
    Phase,
    PhaseChanged,
    RunEnded,
    RunStarted,
    Traced,
    Tuned,
    Validated,
)

MILESTONES = (
    RunStarted,
    DataReady,
    ModelReady,
    EpochEnded,
    Validated,
    CheckpointSaved,
    HintsChanged,
    Tuned,
    Traced,
    Notice,
    CommandTaken,
    RunEnded,
)
"""Also the first `PhaseChanged` of each phase, and `LoaderStats` with unreadable images."""


def beside(record: Path) -> Path:
    """The path of the milestones file of `record`."""
    return record.with_name("milestones.jsonl")


class Milestones:
    """Writes the milestones file along with the record, from the record's first event on.

    An incomplete file would be worse than none: if a write fails the file is deleted, and readers read the whole
    record.
    """

    def __init__(self, record: Path, *, fresh: bool) -> None:
        """`fresh`: the record is empty, so the file may be created."""
        self._path = beside(record)
        self._phase: Phase | None = None
        self._file: int | None = None
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if fresh else 0)
        try:
            self._file = os.open(self._path, flags, 0o600)
        except OSError:
            self._give_up()

    def note(self, event: AnyEvent, line: bytes) -> None:
        """Write `line` of `event` if it is a milestone."""
        if not self._is_one(event) or self._file is None:
            return
        try:
            if os.write(self._file, line + b"\n") <= len(line):
                self._give_up()
        except OSError:
            self._give_up()

    def _is_one(self, event: AnyEvent) -> bool:
        match event:
            case PhaseChanged():
                known, self._phase = self._phase is event.phase, event.phase
                return not known
            case LoaderStats():
                return event.bad_images > 0
            case _:
                return isinstance(event, MILESTONES)

    def _give_up(self) -> None:
        self.close()
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
