"""What all events have: the four fields that the supervisor stamps, and their format's version."""

from __future__ import annotations

from msgspec import Struct

FORMAT_VERSION = 1


class Event(Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """Base of all events. The supervisor, the only writer, stamps these four fields."""

    seq: int = 0
    """Number of the event in its run, from 1, without gaps."""
    v: int = 0
    """`FORMAT_VERSION` of the writer; 0 on an event that was not recorded yet."""
    wall: float = 0.0
    """Seconds since 1970 by the wall clock, which may jump."""
    mono: float = 0.0
    """Seconds by the monotonic clock of the host's boot; for durations."""
