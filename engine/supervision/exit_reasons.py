"""Why a trainer ended: from its last event, its exit code and the kernel's OOM counters."""

from __future__ import annotations

import errno
import signal
from pathlib import Path

from msgspec.structs import replace

from gputrain.engine.events import Outcome, RunEnded

_OUT_OF_RAM = "the machine or its cgroup ran out of RAM; lower prefetch_factor, then num_workers, then batch_size"


def oom_kills() -> int:
    """Number of processes that the kernel's OOM killer has ended so far, where this process can read the counters.

    Counted in its cgroup (v2 ``memory.events``, v1 ``memory.oom_control``) and on the host (``/proc/vmstat``).
    """
    total = 0
    for path in (*_cgroup_files(), Path("/proc/vmstat")):
        try:
            text = path.read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill "))
    return total


def _cgroup_files() -> list[Path]:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    files = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            files.append(Path(f"/sys/fs/cgroup{path}/memory.events"))
        elif "memory" in controllers.split(","):
            files.append(Path(f"/sys/fs/cgroup/memory{path}/memory.oom_control"))
    return files


def exit_reason(
    reported: RunEnded | None, exit_code: int | None, *, stop_now: bool, oom_killed: bool, step: int
) -> RunEnded:
    """The run's last event.

    `reported`: the trainer's own `RunEnded`, if it sent one. `exit_code`: as in `multiprocessing.Process` (negative:
    the signal). `stop_now`: a user asked to stop at once. `oom_killed`: the OOM counters rose during the run.
    """
    if exit_code is not None and exit_code < 0:
        number = -exit_code
        if stop_now:
            return RunEnded(
                outcome=Outcome.STOPPED,
                reason="stopped at once on request",
                signal=number,
                exit_code=exit_code,
                step=step,
            )
        return RunEnded(
            outcome=Outcome.KILLED,
            reason=_killed(number, oom_killed),
            signal=number,
            exit_code=exit_code,
            step=step,
            died_of="ram" if number == signal.SIGKILL and oom_killed else "",
        )
    if reported is not None:
        by_kernel = reported.outcome is Outcome.KILLED and reported.signal == signal.SIGKILL and oom_killed
        # Another rank was killed, and rank 0 reported it.
        what = reported.reason.removesuffix(" from outside")
        reason = f"{what}, by the kernel's OOM killer: {_OUT_OF_RAM}"
        return replace(reported, reason=reason, died_of="ram") if by_kernel else reported
    return RunEnded(
        outcome=Outcome.FAILED,
        reason=f"the trainer exited with code {exit_code} without an error message; see the last lines of trainer.log",
        exit_code=exit_code,
        step=step,
    )


def not_started(error: OSError) -> RunEnded:
    """The last event of a run whose trainer process could not be created."""
    reason = f"the trainer cannot be started: {error.strerror or error}"
    if error.errno == errno.ENOSPC:
        reason += "; /dev/shm is full, but a few KB of it are needed (in a container: --shm-size)"
    elif error.errno in (errno.EMFILE, errno.ENFILE):
        reason += "; raise the limit: ulimit -n 4096"
    elif error.errno in (errno.EAGAIN, errno.ENOMEM):
        reason += "; too little memory, or too many processes (ulimit -u)"
    return RunEnded(outcome=Outcome.FAILED, reason=reason, error=f"{type(error).__name__}: {error}")


def _killed(number: int, oom_killed: bool) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if number == signal.SIGKILL and oom_killed:
        return f"the kernel's OOM killer ended the trainer: {_OUT_OF_RAM}"
    if number == signal.SIGKILL:
        return "the trainer was killed by SIGKILL (kill -9) from outside; resume from the last checkpoint"
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT):
        hint = "; /dev/shm may be full" if number == signal.SIGBUS else ""
        return f"the trainer crashed with {name}{hint}; the stack is at the end of trainer.log"
    return f"the trainer was ended by {name} from outside"
