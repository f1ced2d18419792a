"""Launch a run as a detached process, and attach to a run from any process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from gputrain.engine.common import renamed_names
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.files import last_line, write_atomic
from gputrain.engine.events.speed_forecast import SpeedForecast
from gputrain.engine.launching.attachment import Attachment
from gputrain.engine.launching.job_attachment import JobAttachment
from gputrain.engine.processes import scheduler_signals
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.slurm.job_file import read_job

if TYPE_CHECKING:
    from gputrain.engine.configuration.setting_definitions import RunConfig

START_SECONDS = 60.0
"""How long a supervisor may take to lock its run directory. On an idle machine it takes well under a second."""
EXIT_SECONDS = 10.0
"""How long `wait_for_exit` waits; on a full disk a supervisor stays longer."""


class PlanRecord(msgspec.Struct, frozen=True):
    """The parts of the plan that the supervisor records."""

    origins: dict[str, str] = {}
    warnings: tuple[str, ...] = ()
    forecast: SpeedForecast | None = None


def launch(
    config: RunConfig,
    origins: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
    forecast: SpeedForecast | None = None,
) -> RunDir:
    """Start a run in a new session and return once its supervisor has its lock.

    Raises BadInput as `prepare`; RuntimeError if the supervisor does not come up.
    """
    run = prepare(config, origins, warnings, forecast)
    start(run)
    return run


def prepare(
    config: RunConfig,
    origins: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
    forecast: SpeedForecast | None = None,
) -> RunDir:
    """Make the directory of a run with its settings, and start nothing.

    Raises BadInput if the run directory can't be written, the package of the engine or of a logger is missing, or
    ``alerts.yaml`` is wrong.
    """
    # Imported here: a dashboard that only attaches does not need them.
    from gputrain.engine.alerts.alert_settings import read_alert_settings
    from gputrain.engine.configuration import engine_choice
    from gputrain.engine.loggers import logger_choice

    engine_choice.require(config)
    logger_choice.require(logger_choice.chosen(config.monitor.loggers))
    if config.monitor.alerts:
        read_alert_settings()  # a wrong file is an error now, not after the run has ended without a word
    run = run_directory.create(config.name or config.recipe or "run")
    write_settings(run, config, PlanRecord(dict(origins or {}), tuple(warnings), forecast))
    return run


def write_settings(run: RunDir, config: RunConfig, plan: PlanRecord) -> None:
    """Write ``config.yaml`` and ``plan.json`` of `run`. Raises BadInput if that fails."""
    from gputrain.engine.configuration.config_file import write_config

    try:
        write_config(run.config, config, plan.origins)
        write_atomic(run.plan, msgspec.json.encode(plan))
    except OSError as error:
        raise BadInput(f"{run.directory}: cannot be written: {error.strerror}") from None


def read_plan(run: RunDir) -> PlanRecord:
    """The plan of a run; an empty one if there is none that can be read."""
    try:
        plan = msgspec.json.decode(run.plan.read_bytes(), type=PlanRecord)
    except (OSError, msgspec.DecodeError, UnicodeError):
        return PlanRecord()
    return msgspec.structs.replace(plan, origins=renamed_names.current_settings(plan.origins))


def start(
    run: RunDir, *, resume: bool = False, environment: Mapping[str, str] | None = None, given: bool = False
) -> None:
    """Start the supervisor of a prepared run directory; `resume`: from its newest good checkpoint.

    `environment`: of the supervisor, instead of this process' own with Python's output unbuffered.
    `given`: the supervisor gets this process' standard input, for what it starts.

    Raises RuntimeError if it does not come up.
    """
    # A new session: SIGHUP and Ctrl-C of this terminal do not reach it. -P keeps the current folder off sys.path,
    # where a user's engine.py or queue.py would hide ours.
    with open(run.supervisor_log, "ab", opener=_private) as log, scheduler_signals.blocked_signals():
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gputrain.engine", str(run.directory), *(["--resume"] if resume else [])],
            stdin=None if given else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment if environment is not None else {**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    # Reap the child when it ends; otherwise a dashboard that stays open for days keeps a zombie.
    threading.Thread(target=process.wait, name="reaper", daemon=True).start()
    deadline = time.monotonic() + START_SECONDS
    ended = False
    while not _owns(run, process.pid):
        if ended:
            line = last_line(run.supervisor_log)
            said = f": {line}" if line else ""
            raise RuntimeError(f"the run's supervisor did not start{said} ({run.supervisor_log})")
        if time.monotonic() > deadline:
            process.kill()  # it must not begin to train after this command has reported a failure
        # One more look at the status follows: a short command may have ended since the last one.
        ended = process.poll() is not None
        time.sleep(0.01)


def _owns(run: RunDir, pid: int) -> bool:
    """Whether the supervisor with that process id has had the run's lock."""
    return (status := run.status()) is not None and status.pid == pid


def wait_for_exit(run: RunDir) -> None:
    """Wait until the supervisor of an ended run has exited; returns at once if the run has not ended.

    A batch system may kill it as soon as the command that started the run has left.
    """
    status = run.written_status()
    deadline = time.monotonic() + EXIT_SECONDS
    while status is not None and status.state.over and run.is_live() and time.monotonic() < deadline:
        time.sleep(0.02)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def attach(run: RunDir, outlined: bool = False) -> Attachment:
    """Start reading a run, live or ended. `outlined`: read only the outline of a very long record, then all new events.

    A run that Slurm starts is waited for while its job is queued. Raises OSError if the record can't be read.
    """
    if (job := read_job(run)) is not None:
        return JobAttachment(run, job, outlined)
    return Attachment(run, outlined)
