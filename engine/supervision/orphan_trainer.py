"""A trainer that outlived its supervisor: nothing may save into its run beside it. It is waited for, or ended.

Every trainer holds a lock in its run's directory while it lives, and the file says which process it is.
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
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.runs.run_lock import acquire, is_held
from gputrain.engine.runs.status_file import boot_id, process_started

PATIENCE_SECONDS = 30.0
"""What a trainer without a supervisor gets to save and end by itself: it looks every second, between two steps."""
_END_SECONDS = 5.0


class _Owner(msgspec.Struct):
    pid: int
    started: float
    """As `runs.Status.pid_started`."""
    boot_id: str


def acquire_trainer_lock(run: RunDir) -> None:
    """In a trainer: be the only one of `run` until this process ends. Raises BadInput if there is another, OSError."""
    handle = acquire(run.trainer_lock)
    if handle is None:
        raise BadInput(f"another trainer of {run.id} is still at work{_named(_owner(run))}")
    with contextlib.suppress(OSError):
        # On a full disk nobody learns which process it is; that there is one, the lock says.
        os.ftruncate(handle, 0)
        os.write(handle, msgspec.json.encode(_Owner(os.getpid(), process_started(os.getpid()), boot_id())))


def terminate(run: RunDir, tell: Callable[[str], None], wait: Callable[[float, Callable[[], bool]], None]) -> str:
    """Let a trainer of a killed supervisor save and end, or kill it; returns why it stays, if it does.

    `wait` returns after seconds, or once its function says so, or earlier: then nothing is killed.
    """
    if not is_held(run.trainer_lock):
        return ""
    pid = _owner(run)
    tell(f"the trainer{_named(pid)} of a killed supervisor is still at work; waiting for its last checkpoint")
    if pid is not None:
        # It may be stopped. Awake it sees that its supervisor is gone.
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGCONT)
    began = time.monotonic()
    wait(PATIENCE_SECONDS, lambda: not is_held(run.trainer_lock))
    if not is_held(run.trainer_lock):
        return ""
    if pid is not None and time.monotonic() - began >= PATIENCE_SECONDS:
        _kill(pid)
        if not is_held(run.trainer_lock):
            tell(f"it did not end by itself within {PATIENCE_SECONDS:.0f} s and was killed")
            return ""
    return f"another trainer of this run is still at work{_named(pid)}"


def _kill(pid: int) -> None:
    """End a process with its descendants."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        for member in family:
            with contextlib.suppress(psutil.Error):
                member.kill()
        psutil.wait_procs(family, timeout=_END_SECONDS)


def _owner(run: RunDir) -> int | None:
    try:
        owner = msgspec.json.decode(run.trainer_lock.read_bytes(), type=_Owner)
    except (OSError, msgspec.DecodeError, UnicodeError):
        return None
    same = owner.boot_id == boot_id() and owner.started and owner.started == process_started(owner.pid)
    return owner.pid if same else None


def _named(pid: int | None) -> str:
    return f" (pid {pid})" if pid is not None else " on another host"
