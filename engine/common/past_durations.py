"""How long things took the last time on this machine, so that the next time can tell how much is left.

What can't be read or written here is no error: then nobody knows.
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
"""What is quicker is not worth a word."""
_KEPT = 200


class PastDuration(Struct, frozen=True):
    """What a thing took."""

    seconds: float
    count: float | None = None
    """How much there was of it: images, say."""
    wall: float = 0.0
    """When it ended, seconds since 1970."""


def recall(what: str) -> PastDuration | None:
    """What `what` took the last time; None if it was never done here, or nobody knows."""
    return _read().get(_key(what))


def remember(what: str, seconds: float, count: float | None = None) -> None:
    """Keep what `what` took, if that was long enough to speak of."""
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
