"""Preemption signals: those by which a batch system ends a job, and how they reach the right process of a run.

Slurm sends SIGTERM, or the signal of ``--signal`` (for example SIGUSR1), to all processes of a job step at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from gputrain.engine.common.errors import EXIT_PREEMPTED

PREEMPTING = (signal.SIGTERM, signal.SIGUSR1)
"""The run writes a checkpoint after the next step and ends with `EXIT_PREEMPTED`."""
STOPPING = (*PREEMPTING, signal.SIGINT)


@contextmanager
def exit_when_preempted() -> Iterator[None]:
    """Inside, a signal in `PREEMPTING` ends this process with `EXIT_PREEMPTED`: no run was started yet.

    Call it on the main thread. The handler does not raise an exception, which extension modules may not survive
    while they are imported.
    """
    before = {number: signal.signal(number, _exit) for number in PREEMPTING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(number: int, _frame: object) -> None:
    text = f"gputrain-tui: stopped by {signal.Signals(number).name}, before a run was started\n"
    with contextlib.suppress(OSError):
        os.write(2, text.encode())
    os._exit(EXIT_PREEMPTED)


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
