"""How a trainer ended, in words: from what it said itself, its exit code, and the kernel's counters."""

from __future__ import annotations

import errno
import signal
from pathlib import Path

from msgspec.structs import replace

from gputrain.engine.events import Outcome, RunEnded

_OUT_OF_RAM = "the machine or its cgroup ran out of RAM; lower prefetch_factor, then num_workers, then batch_size"


def oom_kills() -> int:
    """Processes that the kernel's OOM killer has ended so far, as far as this process may see.

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
    said: RunEnded | None, exit_code: int | None, *, stop_now: bool, oom_killed: bool, step: int
) -> RunEnded:
    """The run's last event.

    `said` is the trainer's own last word, `exit_code` as of `multiprocessing.Process` (negative: a
    signal), `stop_now` whether a person asked to end it at once, `oom_killed` whether the kernel's
    OOM killer struck meanwhile.
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
    if said is not None:
        by_kernel = said.outcome is Outcome.KILLED and said.signal == signal.SIGKILL and oom_killed
        # One of several ranks, of which another one tells.
        what = said.reason.removesuffix(" from outside")
        reason = f"{what}, by the kernel's OOM killer: {_OUT_OF_RAM}"
        return replace(said, reason=reason, died_of="ram") if by_kernel else said
    return RunEnded(
        outcome=Outcome.FAILED,
        reason=f"the trainer left with exit code {exit_code} and no word; the last lines of its log say more",
        exit_code=exit_code,
        step=step,
    )


def not_started(error: OSError) -> RunEnded:
    """The last event of a run whose trainer process could not even be made."""
    reason = f"the trainer cannot be started: {error.strerror or error}"
    if error.errno == errno.ENOSPC:
        reason += "; /dev/shm is full, and a few KB of it are needed (in a container: --shm-size)"
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
