"""The state of a run whose job waits in Slurm's queue, or has left it without a word."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import Outcome, RunEnded
from gputrain.engine.runs import run_lock
from gputrain.engine.runs.event_log import RecordWriter
from gputrain.engine.runs.run_directory import RunDir, RunInfo, State, Status
from gputrain.engine.slurm.job_file import LOG, SlurmJob, read_job, stop_requested, write_job
from gputrain.engine.slurm.queue_reason import why_waiting
from gputrain.engine.slurm.slurm_commands import GONE, JobState

_MAY_WAIT = (State.QUEUED, State.DIED, State.STOPPED, State.KILLED)
_SUBMIT_SECONDS = 120.0
"""sbatch gets at most half of it."""
_SLURMS_OWN = ("srun:", "slurmstepd")
_STATES = {Outcome.STOPPED: State.STOPPED, Outcome.FAILED: State.FAILED, Outcome.KILLED: State.KILLED}


def new_status(name: str, recipe: str, profile: str) -> Status:
    """The status of a run that is about to be submitted."""
    now = time.time()
    return Status(
        state=State.QUEUED, started=now, heartbeat=now, pid=0, pid_started=0.0, boot_id="", name=name, recipe=recipe,
        profile=profile,
    )  # fmt: skip


def with_queue(
    infos: Iterable[RunInfo],
    ask: Callable[[Iterable[int]], Mapping[int, JobState]],
    job_of: Callable[[RunDir], SlurmJob | None] = read_job,
) -> list[RunInfo]:
    """`infos` with what Slurm says of their jobs; an end that only Slurm knows is written into the run.

    `ask` gives the states of jobs by id, as `slurm_commands.job_states` does.
    """
    jobs = [(info, job_of(info.run) if _has_job(info.status) else None) for info in infos]
    states = ask([job.number for info, job in jobs if job is not None and _is_open(info.status, job)])
    return [info if job is None else _described(info, job, states.get(job.number)) for info, job in jobs]


def _has_job(status: Status | None) -> bool:
    """Whether the job of a run with this status may matter."""
    return status is not None and (status.state in _MAY_WAIT or not status.state.over)


def _is_open(status: Status | None, job: SlurmJob) -> bool:
    """Whether the job may start a run that is not live."""
    return status is not None and status.state in _MAY_WAIT and not job.over and job.number > 0


def _described(info: RunInfo, job: SlurmJob, state: JobState | None) -> RunInfo:
    status = info.status
    assert status is not None
    if not job.number and status.state is State.QUEUED and time.time() - status.started > _SUBMIT_SECONDS:
        settle(info.run, job, JobState(GONE))
        return RunInfo(info.run, info.run.status())
    if not _is_open(status, job):
        if status.state.over or status.reason or not job.nodes:
            return info
        return RunInfo(info.run, msgspec.structs.replace(status, reason=f"Slurm job {job.number} on {job.nodes}"))
    state = state or JobState()
    if state.over:
        settle(info.run, job, state)
        return RunInfo(info.run, info.run.status())
    if state.waiting or status.state is State.QUEUED:
        shown = State.STARTING if state.known and not state.waiting else State.QUEUED
        return RunInfo(info.run, msgspec.structs.replace(status, state=shown, reason=why_waiting(job.number, state)))
    return info


def settle(run: RunDir, job: SlurmJob, state: JobState) -> RunEnded | None:
    """Write the end of a run whose job is over into record and status, once. Returns it; None: it has one already.

    Other readers may do the same at this moment: the run's lock decides.
    """
    with contextlib.suppress(OSError):
        handle = run_lock.acquire(run.lock)
        if handle is None:
            return None
        try:
            if (now := read_job(run)) is None or now.number != job.number or now.over:
                return None
            write_job(run, msgspec.structs.replace(now, over=True))
            written = run.written_status()
            if written is None or written.state.over:
                return None
            return _write_end(run, written, _ended(run, now, state, written))
        finally:
            os.close(handle)
    return None


def _write_end(run: RunDir, status: Status, ended: RunEnded) -> RunEnded:
    record = RecordWriter(run.events)
    record.append(ended)
    record.close()
    state = _STATES[ended.outcome]
    run.write_status(msgspec.structs.replace(status, state=state, ended=time.time(), reason=ended.reason))
    return ended


def _ended(run: RunDir, job: SlurmJob, state: JobState, status: Status) -> RunEnded:
    """How a run ended whose job is over and which wrote no end itself."""
    name, began = f"Slurm job {job.number}", status.state is not State.QUEUED
    when = "while the run trained" if began else "before the run started"
    if not job.number:
        return RunEnded(outcome=Outcome.FAILED, reason="the run was never submitted: its command was interrupted")
    if state.state == "CANCELLED" or (state.state == GONE and stop_requested(run, job.number)):
        outcome, reason = (Outcome.KILLED if began else Outcome.STOPPED), f"{name} was cancelled {when}"
    elif state.state == GONE:
        outcome, reason = Outcome.KILLED, f"Slurm no longer knows job {job.number}, which ended {when}"
    else:
        why = f" ({state.reason})" if state.reason else ""
        outcome = Outcome.KILLED if began else Outcome.FAILED
        reason = f"{name} ended {when}: {state.state}{why}"
    if outcome is not Outcome.STOPPED and (line := _last_words(run.directory / LOG)):
        reason += f": {line} (all of it: {run.directory / LOG})"
    return RunEnded(outcome=outcome, reason=reason, step=status.step)


def _last_words(log: Path) -> str:
    """The last line of the job's own output, without what srun says of exit codes; empty if there is none."""
    try:
        lines = log.read_bytes()[-4000:].decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    own = [line for line in lines if line.strip() and not line.startswith(_SLURMS_OWN)]
    return plain(own[-1].strip(), 300) if own else ""
