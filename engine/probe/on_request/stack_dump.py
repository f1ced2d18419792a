"""Lets `engine.stacks` ask this process for the stacks of its threads: faulthandler on a real-time signal.

faulthandler writes in the signal handler itself, so that a process answers that hangs in C code or holds the GIL. The
stacks go to a file without a name, which the supervisor reads as ``/proc/PID/fd/N``. A forked child shares it.
"""

from __future__ import annotations

import faulthandler
import os
import signal

SIGNAL = signal.SIGRTMAX - 5
"""No program is known to use it. Where it is taken when `install` is called, there are no stacks on demand."""
NAME = "gputrain-stacks"
"""Name of the file, as ``/proc/PID/fd`` shows it."""


def install(folder: str = "/dev/shm") -> bool:  # noqa: S108 - the file has no name any more when this returns
    """Answer `SIGNAL` from now on; returns whether that is possible. `folder`: for the file, without memfd_create."""
    if not _is_free():
        return False
    try:
        first = _open_file(folder)
        # A second description that appends: the supervisor empties the file after it read it.
        handle = os.open("/proc/self/fd/%d" % first, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        os.close(first)
    except OSError:
        return False
    faulthandler.register(SIGNAL, file=handle, all_threads=True)
    return True


def _open_file(folder: str) -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create(NAME, os.MFD_CLOEXEC)
    path = os.path.join(folder, "%s-%d" % (NAME, os.getpid()))
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    return handle


def _is_free() -> bool:
    """Whether nothing in this process handles or ignores the signal."""
    try:
        with open("/proc/self/status", "rb") as status:
            lines = [line.split() for line in status if line.startswith((b"SigIgn:", b"SigCgt:"))]
    except OSError:
        return False
    return len(lines) == 2 and not any(int(words[1], 16) >> (SIGNAL - 1) & 1 for words in lines)
