"""File locks of a run: held by a process until it ends, for whatever reason, and visible on all hosts."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

_RETRY_SECONDS = 0.5
"""`is_held` holds the lock for a moment, so `acquire` retries for this long."""


def acquire(path: Path) -> int | None:
    """Take the lock; returns its file descriptor, or None if another process has it. It is released when this process
    closes any descriptor of that file.

    Uses `lockf`, so that a forked child does not inherit the lock. Raises OSError.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _RETRY_SECONDS
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
    """Whether another process has the lock. The holder must not call this: it would lose the lock."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        # Shared: two concurrent checks do not see each other as the holder.
        fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
