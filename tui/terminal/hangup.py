"""Ends the process when its terminal is closed, as SIGHUP does."""

from __future__ import annotations

import os
import select
import signal
import sys

POLL_SECONDS = 1.0


def is_gone() -> bool:
    """Whether the terminal on standard input was closed at its other end. Costs one system call."""
    poll = select.poll()
    # No event is requested: poll always reports a hang-up.
    poll.register(sys.__stdin__ or 0, 0)
    return any(events & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, events in poll.poll(0))


def end_if_gone() -> None:
    """End this process with SIGHUP if its terminal was closed.

    The kernel sends SIGHUP only to the session that owns the terminal. Any other process would read end-of-file in a
    loop, at the cost of one core.
    """
    if is_gone():
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGHUP)
