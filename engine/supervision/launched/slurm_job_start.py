"""One rank of a run that was submitted to Slurm: ``srun … -m gputrain.engine RUN_DIR --job``.

The first start and each start after a requeue are the same command: rank 0 goes on from the newest checkpoint of the
run directory, if there is one.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping

import msgspec

from gputrain.engine.common.errors import (
    EXIT_BAD_INPUT,
    EXIT_FAILED,
    EXIT_FINISHED,
    EXIT_PREEMPTED,
    EXIT_STOPPED,
    BadInput,
)
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.launching.launch import read_plan, write_settings
from gputrain.engine.node_check.meeting_host import require_reachable
from gputrain.engine.processes.rank_environment import RankInfo, rank_info
from gputrain.engine.processes.scheduler_signals import exit_when_preempted
from gputrain.engine.runs.run_directory import RunDir, State
from gputrain.engine.slurm import job_file
from gputrain.engine.supervision import trainer_main
from gputrain.engine.supervision.launched import launched_run
from gputrain.engine.supervision.launched.launched_run import planned

_MOST_IDLE_STARTS = 5
_POLL_SECONDS = 2.0
_GRACE_SECONDS = 30.0
"""Time for a rank to end by itself after rank 0."""


def train(run: RunDir, environ: Mapping[str, str]) -> int:
    """Train as this task's rank. Returns the exit code; rank 0 leaves it to the batch script, too. Raises BadInput."""
    restart = environ.get("SLURM_RESTART_COUNT", "0")
    with exit_when_preempted():
        info, number = rank_info(environ), _job_number(environ)
        if (code := _nothing_to_do(run, number)) is not None:
            if info is None or info.rank == 0:
                _leave_exit_code(run, code, restart)
            return code
        if info is not None:
            require_reachable(info, environ)
        if info is not None and info.rank:
            threading.Thread(target=_end_with_rank_0, args=(run, restart), name="rank 0 watch", daemon=True).start()
            trainer_main.follow_launched(info)
        try:
            config = _prepared(run, info, number, environ)
        except BadInput:
            _leave_exit_code(run, EXIT_BAD_INPUT, restart)
            raise
    code = EXIT_FAILED
    try:
        code = launched_run.supervise(run, config, info, resume=True)
        if code == EXIT_PREEMPTED and _gives_up(run):
            code = EXIT_FAILED
    finally:
        _leave_exit_code(run, code, restart)
    return code


def _gives_up(run: RunDir) -> bool:
    """Whether Slurm has ended so many starts before a step that one more would end in the same way; says so."""
    job, status = job_file.read_job(run), run.written_status()
    if job is None or status is None:
        return False
    job = job_file.after_preemption(job, status.step)
    text = f"{job.idle_starts} starts in a row were ended by Slurm before a step was done"
    with contextlib.suppress(OSError):
        job_file.write_job(run, job)
        if job.idle_starts >= _MOST_IDLE_STARTS:
            text += ": not requeued; give the job a longer time limit (in slurm.sh)"
            run.write_status(msgspec.structs.replace(status, state=State.FAILED, reason=text))
    if job.idle_starts:
        print(f"{run.id}: {text}", flush=True)
    return job.idle_starts >= _MOST_IDLE_STARTS


def _nothing_to_do(run: RunDir, number: int) -> int | None:
    """The exit code of a job that need not start the run; None: it must."""
    if job_file.stop_requested(run, number):
        print(f"{run.id}: job {number} was asked to stop before it started", flush=True)
        return EXIT_STOPPED
    if (status := run.written_status()) is not None and status.state is State.FINISHED:
        print(f"{run.id} is finished: there is nothing to resume", flush=True)
        return EXIT_FINISHED
    return None


def _prepared(run: RunDir, info: RankInfo | None, number: int, environ: Mapping[str, str]) -> RunConfig:
    """The settings for this machine, written into the run directory; takes the run's lock. Raises BadInput."""
    job = job_file.read_job(run)
    if job is None:
        raise BadInput(f"{run.directory}: was not submitted by gputrain-tui train --slurm (no slurm.json)")
    count = info.count if info else 1
    if count != job.ranks:
        raise BadInput(f"world size: srun started {count} ranks, and {job.ranks} were asked for ({job.asked})")
    if not run.own():
        raise BadInput(f"{run.id} already has a supervisor")
    config, record = planned(run.config, info)
    before = read_plan(run)
    write_settings(run, config, msgspec.structs.replace(before, warnings=record.warnings))
    nodes = plain(environ.get("SLURM_JOB_NODELIST", ""), 200)
    job_file.write_job(run, msgspec.structs.replace(job, number=number, nodes=nodes, starts=job.starts + 1, over=False))
    return config


def _leave_exit_code(run: RunDir, code: int, restart: str) -> None:
    with contextlib.suppress(OSError):
        job_file.write_exit_code(run, code, restart)


def _end_with_rank_0(run: RunDir, restart: str) -> None:
    """In another rank: end once rank 0 has, even while this one still waits for it."""
    while (code := job_file.read_exit_code(run, restart)) is None:
        time.sleep(_POLL_SECONDS)
    time.sleep(_GRACE_SECONDS)
    os._exit(code)


def _job_number(environ: Mapping[str, str]) -> int:
    """The job's id. Raises BadInput outside of a job."""
    text = environ.get("SLURM_JOB_ID", "")
    if not text.isdecimal():
        raise BadInput("--job: SLURM_JOB_ID is not set: submit the run by gputrain-tui train --slurm")
    return int(text)
