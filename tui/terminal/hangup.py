"""A terminal that is gone: the screen ends with it, as by the kernel's hang-up."""

from __future__ import annotations

import os
import select
import signal
import sys

POLL_SECONDS = 1.0


def is_gone() -> bool:
    """Whether standard input is a terminal that nobody holds any more. Costs one system call."""
    poll = select.poll()
    # No event is asked for: a hang-up is told anyway.
    poll.register(sys.__stdin__ or 0, 0)
    return any(events & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, events in poll.poll(0))


def end_if_gone() -> None:
    """End this process if its terminal is gone.

    The kernel's SIGHUP reaches only the session that owns the terminal; any other process would read the end of its
    input again and again, at the cost of a core.
    """
    if is_gone():
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGHUP)
