"""Preemption signals: those by which a batch system ends a job, and how they reach the right process of a run.

Slurm sends SIGTERM, or the signal of ``--signal`` (for example SIGUSR1), to all processes of a job step at once.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

PREEMPTING = (signal.SIGTERM, signal.SIGUSR1)
"""The run writes a checkpoint after the next step and ends with `EXIT_PREEMPTED`."""
STOPPING = (*PREEMPTING, signal.SIGINT)


@contextmanager
def blocked_signals() -> Iterator[None]:
    """Processes started inside begin with the signals in `STOPPING` blocked, and so do their children.

    Signals stay pending until the process has installed handlers and calls `received`. Helper processes never do,
    and keep working.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def received() -> None:
    """Unblock the signals, now that this process has handlers; pending ones arrive."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
