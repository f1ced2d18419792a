"""The outline of a long record on another machine, put together from what comes of it (see `engine.outline`)."""

from __future__ import annotations

from gputrain.engine.events import AnyEvent, decode

LONG_BYTES = 16 << 20
"""Shorter records are read whole: seconds over most lines."""
PARTS = 250
PART_BYTES = 8 << 10
END_BYTES = 2 << 20
"""The end of the record that is read whole."""
MILESTONE_BYTES = 1 << 20
"""Of a longer file of milestones the newest so many are read, and an eighth as many of the first."""


class RemoteOutline:
    """Pieces of a record until its end begins to come: milestones, and small parts spread evenly."""

    def __init__(self) -> None:
        self._found: dict[int, AnyEvent] = {}

    def add(self, piece: bytes) -> None:
        """Take the whole lines of a piece. What is cut off at its ends is no event."""
        self._found |= {event.seq: event for line in piece.split(b"\n")[:-1] if (event := decode(line)) is not None}

    def before(self, number: int) -> list[AnyEvent]:
        """The events before `number`, in order."""
        return [self._found[seq] for seq in sorted(self._found) if seq < number]
