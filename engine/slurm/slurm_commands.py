"""Slurm's commands: sbatch, squeue, scancel and sinfo, each as a list of arguments and with a time limit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain

SUBMIT_SECONDS = 60.0
QUERY_SECONDS = 5.0
"""A controller under load may take minutes; a list of runs does not wait for it."""
_UNKNOWN_JOB = "Invalid job id"
_ENDED = frozenset((
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT",
))  # fmt: skip
_WAITING = frozenset(("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"))
GONE = "gone"
"""State of a job that Slurm no longer knows."""


class SlurmError(OSError):
    """A command of Slurm is missing, too slow or failed; the text says which and why."""


class JobState(Struct, frozen=True):
    """What Slurm says of a job."""

    state: str = ""
    """``PENDING``, ``RUNNING`` …, or `GONE`; empty: unknown."""
    reason: str = ""
    """Why it waits or how it failed, in Slurm's word; where the state is unknown, why."""
    nodes: str = ""
    """Its nodes, in Slurm's form."""

    @property
    def known(self) -> bool:
        """Slurm has answered."""
        return bool(self.state)

    @property
    def over(self) -> bool:
        """It has ended, and Slurm does not start it again."""
        return self.state in _ENDED or self.state == GONE

    @property
    def waiting(self) -> bool:
        """It waits in the queue."""
        return self.state in _WAITING


class PartitionNodes(Struct, frozen=True):
    """What the nodes of a partition have, at least."""

    cores: int
    memory: int
    """Bytes."""
    gpus: int = 0
    gpu_kind: str = ""
    """``a100``; empty: unknown."""


def submit(script: Path) -> int:
    """Submit a batch script from its own folder. Returns the job's id. Raises SlurmError with sbatch's words."""
    # Inside of an allocation its variables would count as options of the new job.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_") or name in _KEPT}
    output = _run(("sbatch", "--parsable", script.name), SUBMIT_SECONDS, environ, script.parent)
    number = output.strip().partition(";")[0]
    if not number.isdecimal():
        raise SlurmError(f"sbatch: no job id in its answer: {plain(output, 200)}")
    return int(number)


_KEPT = ("SLURM_CONF", "SLURM_CLUSTERS")


def job_states(numbers: Iterable[int], seconds: float = QUERY_SECONDS) -> dict[int, JobState]:
    """The states of jobs, by their ids. Never raises: without an answer they are unknown, with the cause as reason."""
    wanted = sorted(set(numbers))
    if not wanted:
        return {}
    words = ("squeue", "--noheader", "--states=all", "--format=%i|%T|%r|%N")
    try:
        output = _run((*words, f"--jobs={','.join(map(str, wanted))}"), seconds)
    except SlurmError as error:
        if _UNKNOWN_JOB in str(error):
            return dict.fromkeys(wanted, JobState(GONE))
        return dict.fromkeys(wanted, JobState(reason=str(error)))
    found = dict.fromkeys(wanted, JobState(GONE))
    for line in output.splitlines():
        number, state, reason, nodes = (*(plain(word.strip(), 200) for word in line.split("|")), "", "", "", "")[:4]
        if number.isdecimal() and int(number) in found and state:
            found[int(number)] = JobState(state, "" if reason == "None" else reason, nodes)
    return found


def cancel(number: int, signal: str = "") -> None:
    """Cancel a job, or send all ranks a signal (``USR1``). Raises SlurmError."""
    _run(("scancel", *((f"--signal={signal}",) if signal else ()), str(number)), SUBMIT_SECONDS)


def partition_nodes(partition: str) -> PartitionNodes | None:
    """What each node of a partition has at least; None: sinfo does not say. Raises BadInput: no such partition."""
    words = ("sinfo", "--noheader", "--exact", "--format=%P|%c|%m|%G")
    try:
        output = _run(words, QUERY_SECONDS)
    except SlurmError:
        return None
    rows = [line.split("|") for line in output.splitlines() if line.count("|") == 3]
    names = sorted({row[0].strip().rstrip("*") for row in rows})
    if partition and partition not in names:
        raise BadInput(f"--slurm: there is no partition '{partition}' (all: {plain(', '.join(names), 300)})")
    # Slurm marks the default partition by a star.
    mine = [row for row in rows if (row[0].strip().rstrip("*") == partition if partition else "*" in row[0])]
    found = [_nodes(row) for row in mine if row[1].strip().isdecimal() and row[2].strip().isdecimal()]
    if not found:
        return None
    with_gpus = [one for one in found if one.gpus] or found
    return PartitionNodes(
        min(one.cores for one in with_gpus),
        min(one.memory for one in with_gpus),
        max(one.gpus for one in with_gpus),
        with_gpus[0].gpu_kind,
    )


def _nodes(row: list[str]) -> PartitionNodes:
    """A line of sinfo; its last cell is like ``gpu:a100:8(S:0-1),nvme:1``."""
    gpus, kind = 0, ""
    for resource in row[3].split(","):
        pieces = resource.partition("(")[0].strip().split(":")
        if pieces[0] == "gpu" and pieces[-1].isdecimal():
            gpus, kind = gpus + int(pieces[-1]), pieces[1] if len(pieces) == 3 else kind
    return PartitionNodes(int(row[1]), int(row[2]) << 20, gpus, plain(kind, 60))


def _run(
    words: tuple[str, ...], seconds: float, environ: Mapping[str, str] | None = None, folder: Path | None = None
) -> str:
    """The output of a command. Raises SlurmError."""
    name = words[0]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False, env=environ, cwd=folder
        )
    except FileNotFoundError:
        raise SlurmError(f"{name}: not found; is this a login node of a Slurm cluster?") from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{name}: no answer after {seconds:g} s") from None
    except OSError as error:
        raise SlurmError(f"{name}: {error.strerror}") from None
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise SlurmError(plain(said, 500) or f"{name}: exit code {done.returncode}")
    return done.stdout.decode(errors="replace")
