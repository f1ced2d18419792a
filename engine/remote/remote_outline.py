"""The outline of a long record on another machine, assembled from pieces (see `runs.record_outline`)."""

from __future__ import annotations

from gputrain.engine.events import AnyEvent, decode

LONG_BYTES = 16 << 20
"""Shorter records are read whole, which takes seconds on most connections."""
PARTS = 250
PART_BYTES = 8 << 10
END_BYTES = 2 << 20
"""Bytes at the end of the record that are read whole."""
MILESTONE_BYTES = 1 << 20
"""Bytes read at the end of a longer milestones file; an eighth as many are read at its start."""


class RemoteOutline:
    """Collects pieces of a record: milestones, and small, evenly spaced parts."""

    def __init__(self) -> None:
        self._found: dict[int, AnyEvent] = {}

    def add(self, piece: bytes) -> None:
        """Add the events of a piece; lines cut off at its ends are skipped."""
        self._found |= {event.seq: event for line in piece.split(b"\n")[:-1] if (event := decode(line)) is not None}

    def before(self, number: int) -> list[AnyEvent]:
        """The events before `number`, in order."""
        return [self._found[seq] for seq in sorted(self._found) if seq < number]
