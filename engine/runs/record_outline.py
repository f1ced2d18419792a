"""The outline of a long record: all milestones, and a fixed number of small, evenly spaced parts.

A dashboard opens a record of a day or a fortnight by it in the time that it takes to read some megabytes, and reads on
from near the end. Figures that sum up the run are estimates then, and said to be (`gputrain.tui.state.run_totals`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from gputrain.engine.events import AnyEvent, decode
from gputrain.engine.runs.milestones import beside

LONG_BYTES = 24 << 20
"""Shorter records are read whole, in about a second: some 57,000 events, an hour or more of training."""
PARTS = 1000
PART_BYTES = 8 << 10
END_BYTES = 3 << 20
"""Bytes at the end of the record that are read whole: some minutes."""
MILESTONE_BYTES = 2 << 20
"""Bytes read at the end of a longer milestones file; an eighth as many are read at its start."""


class Outline(Struct, frozen=True):
    """The part of a long record that was read."""

    events: list[AnyEvent]
    """In order, with gaps."""
    until: int
    """Number of the event from which on nothing is left out."""
    offset: int
    """Offset of that event in the record."""


def outline(record: Path) -> Outline | None:
    """The outline of `record`; None if it is short, or has no milestones. Raises OSError if it can't be read."""
    try:
        size = record.stat().st_size
        if size < LONG_BYTES:
            return None
        with record.open("rb") as file, beside(record).open("rb") as milestones:
            offset, until = _first_line(file.fileno(), size - END_BYTES)
            if not until:
                return None
            found = {event.seq: event for event in _milestones(milestones.fileno())}
            for number in range(PARTS):
                found |= {event.seq: event for event in _part(file.fileno(), offset * number // PARTS)}
    except FileNotFoundError:
        return None
    return Outline([found[seq] for seq in sorted(found) if seq < until], until, offset)


def _first_line(file: int, start: int) -> tuple[int, int]:
    """Offset and number of the first whole event after `start`; number 0 if there is none within 1 MiB."""
    chunk = os.pread(file, 1 << 20, start)
    place = chunk.find(b"\n") + 1
    while place and (end := chunk.find(b"\n", place)) >= 0:
        event = decode(chunk[place:end])
        if event is not None:
            return start + place, event.seq
        place = end + 1
    return 0, 0


def _part(file: int, start: int) -> Iterator[AnyEvent]:
    yield from _whole_lines(os.pread(file, PART_BYTES, start), torn=start > 0)


def _milestones(file: int) -> Iterator[AnyEvent]:
    size = os.fstat(file).st_size
    if size > MILESTONE_BYTES:
        yield from _whole_lines(os.pread(file, MILESTONE_BYTES // 8, 0), torn=False)
    start = max(0, size - MILESTONE_BYTES)
    yield from _whole_lines(os.pread(file, MILESTONE_BYTES, start), torn=start > 0)


def _whole_lines(chunk: bytes, *, torn: bool) -> Iterator[AnyEvent]:
    """The events of `chunk` without its last line, which may be cut off, and without the first if `torn`."""
    lines = chunk.split(b"\n")[1 if torn else 0 : -1]
    yield from (event for event in map(decode, lines) if event is not None)
