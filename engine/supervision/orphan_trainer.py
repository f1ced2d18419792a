"""Orphan trainers: a trainer whose supervisor was killed must end before the run may start again.

Every trainer holds a lock file in its run directory while it runs; the file names the process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

import msgspec
import psutil

from gputrain.engine.common.errors import BadInput
from gputrain.engine.runs import process_identity
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.runs.run_lock import acquire, is_held

EXIT_TIMEOUT_SECONDS = 30.0
"""Time for an orphan to save and exit by itself; it checks for its supervisor every second, between two steps."""
_KILL_TIMEOUT_SECONDS = 5.0
_LOCK_POLL_SECONDS = 0.2


def acquire_trainer_lock(run: RunDir, patience: float = 0.0) -> None:
    """Take the trainer lock of `run` until this process ends. Waits up to `patience` seconds for another trainer.

    Raises BadInput if that still has it, OSError.
    """
    deadline = time.monotonic() + patience
    while (handle := acquire(run.trainer_lock)) is None and time.monotonic() < deadline:
        time.sleep(_LOCK_POLL_SECONDS)
    if handle is None:
        raise BadInput(f"another trainer of {run.id} is still running{_named(_owner(run))}")
    with contextlib.suppress(OSError):
        # On a full disk the process is not named, but the lock still shows that there is one.
        os.ftruncate(handle, 0)
        os.write(handle, msgspec.json.encode(process_identity.of_process(os.getpid())))


def terminate(run: RunDir, warn: Callable[[str], None], wait: Callable[[float, Callable[[], bool]], None]) -> str:
    """Wait for an orphan trainer to save and exit, then kill it. Returns why it still runs, or ``""``.

    `wait(seconds, done)` returns when the time is over, when `done()` is true, or earlier: then nothing is killed.
    """
    if not is_held(run.trainer_lock):
        return ""
    pid = _owner(run)
    warn(f"the trainer{_named(pid)} of a killed supervisor is still running; waiting for its last checkpoint")
    if pid is not None:
        # It may be stopped (SIGSTOP); when it continues, it notices that its supervisor has ended.
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGCONT)
    began = time.monotonic()
    wait(EXIT_TIMEOUT_SECONDS, lambda: not is_held(run.trainer_lock))
    if not is_held(run.trainer_lock):
        return ""
    if pid is not None and time.monotonic() - began >= EXIT_TIMEOUT_SECONDS:
        _kill(pid)
        if not is_held(run.trainer_lock):
            warn(f"it did not exit by itself within {EXIT_TIMEOUT_SECONDS:.0f} s and was killed")
            return ""
    return f"another trainer of this run is still running{_named(pid)}"


def _kill(pid: int) -> None:
    """Kill a process and its descendants, and wait for them."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        for member in family:
            with contextlib.suppress(psutil.Error):
                member.kill()
        psutil.wait_procs(family, timeout=_KILL_TIMEOUT_SECONDS)


def _owner(run: RunDir) -> int | None:
    owner = process_identity.read_identity(run.trainer_lock)
    return owner.pid if owner is not None and owner.runs else None


def _named(pid: int | None) -> str:
    return f" (pid {pid})" if pid is not None else " on another host"
