"""Locks that say who is at work on a run: held by a process until it ends, however it ends, on whatever host."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

_LOOK_SECONDS = 0.5
"""Whoever looks whether a lock is taken holds it for a moment: one who wants it tries for longer."""


def acquire(path: Path) -> int | None:
    """The descriptor of a lock that this process has now, until it closes any of that file; None if another one has it.

    By `lockf`: a forked child does not keep it. Raises OSError.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _LOOK_SECONDS
    while True:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                os.close(handle)
                return None
            time.sleep(0.01)
        else:
            return handle


def is_held(path: Path) -> bool:
    """Whether another process has the lock. Not for the one that has it: by the look it would lose it."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        # Shared: two who look at once do not take each other for an owner.
        fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
