"""The Slurm job of a run, in ``slurm.json`` of its directory, and the request to stop it, in ``slurm.stop``."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gputrain.engine.common.files import write_atomic
from gputrain.engine.runs.run_directory import RunDir

SCRIPT = "slurm.sh"
"""The batch script."""
LOG = "slurm.log"
"""Output of the batch script and of all ranks, over all starts of the job."""
STOP = "slurm.stop"
"""Id of the job that is to stop: it is not requeued."""
EXIT = "slurm.exit"
"""The exit code of the run, as its record has it: srun's own is the highest of its tasks."""


class SlurmJob(msgspec.Struct, frozen=True, kw_only=True):
    """The job that runs, or will run, a training."""

    number: int
    """Slurm's job id; 0: it is being submitted."""
    ranks: int
    """Number of ranks that were asked for."""
    asked: str
    """The options of ``--slurm``, as text."""
    nodes: str = ""
    """Nodes of its last start, in Slurm's form; empty: it has not started."""
    starts: int = 0
    """How often it has started."""
    step: int = 0
    """The highest step that a start has reached."""
    idle_starts: int = 0
    """Starts in a row that Slurm ended before they reached a higher step."""
    over: bool = False
    """Slurm has no such job any more, or it has ended: nothing starts the run by itself."""


def after_preemption(job: SlurmJob, step: int) -> SlurmJob:
    """`job` after Slurm ended a start that had reached `step`."""
    if step > job.step:
        return msgspec.structs.replace(job, step=step, idle_starts=0)
    return msgspec.structs.replace(job, idle_starts=job.idle_starts + 1)


def read_job(run: RunDir) -> SlurmJob | None:
    """The job of a run; None: the run was not submitted to Slurm."""
    try:
        return msgspec.json.decode((run.directory / "slurm.json").read_bytes(), type=SlurmJob)
    except (OSError, msgspec.DecodeError, UnicodeError):
        return None


def write_job(run: RunDir, job: SlurmJob) -> None:
    """Replace ``slurm.json``. Raises OSError."""
    write_atomic(run.directory / "slurm.json", msgspec.json.encode(job))


def request_stop(run: RunDir, job: SlurmJob) -> None:
    """Note that the job must not be requeued any more. Raises OSError."""
    write_atomic(run.directory / STOP, f"{job.number}\n".encode())


def stop_requested(run: RunDir, number: int) -> bool:
    """Whether someone asked the job of this number to stop."""
    return _text(run.directory / STOP) == str(number)


def write_exit_code(run: RunDir, code: int, restart: str) -> None:
    """Leave the run's exit code, and the job's restart that had it, to the batch script. Raises OSError."""
    write_atomic(run.directory / EXIT, f"{code} {restart}\n".encode())


def read_exit_code(run: RunDir, restart: str) -> int | None:
    """The exit code that rank 0 has left in this restart of the job; None: it has not ended.

    A network file system may still show the file of the restart before.
    """
    code, _, of = _text(run.directory / EXIT).partition(" ")
    return int(code) if code.isdecimal() and of == restart else None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeError):
        return ""
