"""A process that holds the lock of a run, as a supervisor does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gputrain.engine.runs.run_directory import RunDir


def hold_lock(run: RunDir) -> subprocess.Popen[str]:
    """A process that holds the run's lock until its standard input closes."""
    return hold_file(run.lock)


def hold_file(path: Path) -> subprocess.Popen[str]:
    """A process that holds a lock file until its standard input closes."""
    code = (
        "import fcntl, os, sys; f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT);"
        "fcntl.lockf(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child
