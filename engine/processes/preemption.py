"""The signals by which a batch system asks a job to go, and how they reach the right process of a run.

Slurm sends SIGTERM, or what ``--signal`` names (SIGUSR1, say), to all processes of a job step at once.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

PREEMPTING = (signal.SIGTERM, signal.SIGUSR1)
"""The run makes a checkpoint after the next step and ends with the exit code that says: resume me."""
STOPPING = (*PREEMPTING, signal.SIGINT)


@contextmanager
def blocked_signals() -> Iterator[None]:
    """A process that is started inside begins with these signals blocked, and so do those that it starts.

    Until it has said what they mean by `received`, they wait; helpers that never do go on with their work.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def received() -> None:
    """This process has handlers for the signals now: those that waited may come."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
