"""A process beside the supervisor that nobody waits for: its output in a pipe, its errors in a log file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from gputrain.engine.processes import scheduler_signals


def start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start `command`, on the main thread; its standard error is appended to `log`. Raises OSError.

    It has a session of its own, since it may outlive the supervisor to finish its work.
    """
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        # A preemption signal to all processes of a job must not end it before the run has ended.
        with scheduler_signals.blocked_signals():
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=handle, start_new_session=True
            )
    finally:
        os.close(handle)
