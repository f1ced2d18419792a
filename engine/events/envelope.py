"""The base class of events: four fields that the supervisor sets, and the format version."""

from __future__ import annotations

from msgspec import Struct

FORMAT_VERSION = 1


class Event(Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """Base of all events. The supervisor, the only writer, sets these four fields."""

    seq: int = 0
    """Number of the event in its run, from 1 without gaps."""
    v: int = 0
    """`FORMAT_VERSION` of the writer; 0 before recording."""
    wall: float = 0.0
    """Wall-clock time in seconds since 1970; may jump."""
    mono: float = 0.0
    """Monotonic clock of the host since boot in seconds; for durations."""
