"""Durations of past phases on this machine, for estimates of the time left.

An unreadable or unwritable file is not an error: durations are then unknown.
"""

from __future__ import annotations

import contextlib
import platform
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.files import cache_home, write_atomic

LEAST_SECONDS = 1.0
"""Shorter durations are not stored."""
_KEPT = 200


class PastDuration(Struct, frozen=True):
    """The last duration of a task."""

    seconds: float
    count: float | None = None
    """The amount of work, for example images."""
    wall: float = 0.0
    """When it ended, in seconds since 1970."""


def recall(what: str) -> PastDuration | None:
    """The last duration of task `what`; None if it is unknown."""
    return _read().get(_key(what))


def remember(what: str, seconds: float, count: float | None = None) -> None:
    """Store the duration of task `what`, unless it is shorter than `LEAST_SECONDS`."""
    if seconds < LEAST_SECONDS:
        return
    known = {**_read(), _key(what): PastDuration(seconds, count, time.time())}
    kept = sorted(known.items(), key=lambda item: item[1].wall)[-_KEPT:]
    with contextlib.suppress(OSError, BadInput):
        cache_home().mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(_path(), msgspec.json.encode(dict(kept)))


def _key(what: str) -> str:
    # Several machines may share a home.
    return f"{platform.node()} {what}"[:1000]


def _read() -> dict[str, PastDuration]:
    try:
        return msgspec.json.decode(_path().read_bytes(), type=dict[str, PastDuration])
    except (OSError, BadInput, msgspec.DecodeError, UnicodeError):
        return {}


def _path() -> Path:
    return cache_home() / "durations.json"
