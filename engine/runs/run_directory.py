"""Run directories: create, list and find them, and read their status.

A run directory is private (0700) and holds::

    config.yaml    the resolved settings; launches the same run again
    command.json   the command of a script of the user's own; only where that is what runs
    plan.json      where each setting came from, and the plan's warnings
    events.jsonl   the record: one event a line, written by the supervisor alone
    status.json    the newest `Status`, for lists
    lock           locked by the supervisor while it runs; trainer.lock: by the trainer
    checkpoints/   weights and training state
    bad_images.csv unreadable images and the reasons, if there were any
    traces/        traces of some steps, as somebody asked for them
    trainer.log    output of the trainer; supervisor.log: output of the supervisor
    slurm.json     the Slurm job of the run, slurm.sh its batch script, slurm.log its output
"""

from __future__ import annotations

import contextlib
import enum
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.files import state_home, write_atomic
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import Unit
from gputrain.engine.runs import run_names
from gputrain.engine.runs.run_lock import acquire, is_held

FILES = frozenset((
    "config.yaml", "command.json", "plan.json", "events.jsonl",
    "milestones.jsonl", "status.json", "marks.json", "lock", "trainer.lock",
    "channel.key", "channel.sock", "checkpoints", "bad_images.csv", "resources.csv", "trainer.log", "supervisor.log",
    "tensorboard", "tensorboard.log", "wandb", "wandb.log", "mlflow", "mlflow.log", "trackio", "trackio.log",
    "alerts.log", "nodes.token", "traces", "slurm.json", "slurm.sh", "slurm.log", "slurm.exit", "slurm.stop",
))  # fmt: skip
"""All names that a run may write in its directory."""


class State(enum.StrEnum):
    """The state of a run."""

    QUEUED = "queued"
    """A batch system has the run and has not started it yet."""
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    KILLED = "killed"
    DIED = "died"
    """Never written: the status says that the run continues, but no process holds its lock."""

    @property
    def over(self) -> bool:
        """The run has ended."""
        return self in (State.FINISHED, State.STOPPED, State.FAILED, State.KILLED, State.DIED)


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Summary of a run for lists. Times are seconds since 1970."""

    state: State
    started: float
    heartbeat: float
    """When the supervisor last wrote this."""
    pid: int
    pid_started: float
    """Start of the supervisor process in clock ticks since boot: detects a reused pid."""
    boot_id: str
    name: str = ""
    recipe: str = ""
    profile: str = ""
    phase: str = ""
    step: int = 0
    total_steps: int = 0
    epoch: int = 0
    """From 0; -1: unknown, as of a script that reads no DataLoader."""
    epochs: int = 0
    """0: unknown, as of every script."""
    images_per_second: float | None = None
    unit: Unit = "images"
    """What `images_per_second` counts."""
    metric: str = ""
    best: float | None = None
    ended: float | None = None
    reason: str = ""
    socket: str = ""
    """Address of the queue to dashboards."""


@dataclass(frozen=True, slots=True)
class RunDir:
    """The paths of one run."""

    directory: Path

    @property
    def id(self) -> str:
        """The run's name in lists and on the command line, sanitized for display: a directory may have any name.
        Runs are distinguished by `directory`.
        """
        return plain(self.directory.name, 255)

    @property
    def config(self) -> Path:
        """The resolved settings."""
        return self.directory / "config.yaml"

    @property
    def command(self) -> Path:
        """The command of a script of the user's own; missing where something else runs."""
        return self.directory / "command.json"

    @property
    def plan(self) -> Path:
        """Origins of the settings, warnings and forecast of the plan."""
        return self.directory / "plan.json"

    @property
    def events(self) -> Path:
        """The record."""
        return self.directory / "events.jsonl"

    @property
    def lock(self) -> Path:
        """Lock file of the supervisor."""
        return self.directory / "lock"

    @property
    def trainer_lock(self) -> Path:
        """Lock file of the trainer."""
        return self.directory / "trainer.lock"

    @property
    def key(self) -> Path:
        """Secret key of the event channel."""
        return self.directory / "channel.key"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.directory / "checkpoints"

    @property
    def trainer_log(self) -> Path:
        """Output of the trainer."""
        return self.directory / "trainer.log"

    @property
    def supervisor_log(self) -> Path:
        """Output of the supervisor; empty unless it failed."""
        return self.directory / "supervisor.log"

    def write_status(self, status: Status) -> None:
        """Replace ``status.json``. Raises OSError."""
        write_atomic(self.directory / "status.json", msgspec.json.encode(status))

    def status(self) -> Status | None:
        """The status in ``status.json``; `State.DIED` if the run has no supervisor; None without a status."""
        status = self.written_status()
        if status is None or status.state.over or status.state is State.QUEUED or self.is_live():
            return status
        # A supervisor writes the final status before it releases the lock, maybe just now.
        status = self.written_status() or status
        if status.state.over:
            return status
        reason = "the supervisor ended without a message: it was killed, or the machine went down"
        return msgspec.structs.replace(status, state=State.DIED, reason=reason)

    def written_status(self) -> Status | None:
        """The content of ``status.json``, which may be outdated. For the supervisor itself, which would lose its own
        lock by testing it.
        """
        try:
            return msgspec.json.decode((self.directory / "status.json").read_bytes(), type=Status)
        except (OSError, msgspec.DecodeError, UnicodeError):
            return None

    def is_live(self) -> bool:
        """Whether the run has a supervisor now, on any host that shares the directory."""
        return is_held(self.lock)

    def own(self) -> bool:
        """Take the supervisor's lock until this process ends; False if it is taken. Raises OSError."""
        return acquire(self.lock) is not None


def runs_home() -> Path:
    """The folder that holds all run directories."""
    return state_home() / "runs"


def create(label: str) -> RunDir:
    """Create a private run directory named by time and `label`. Raises BadInput if that fails."""
    home = runs_home()
    stem = run_names.default_id(label, datetime.now().astimezone())
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for attempt in range(1, 1000):
            directory = home / (stem if attempt == 1 else f"{stem}-{attempt}")
            with contextlib.suppress(FileExistsError):
                directory.mkdir(mode=0o700)
                (directory / "checkpoints").mkdir(mode=0o700)
                return RunDir(directory)
    except OSError as error:
        raise BadInput(
            f"{error.filename or home}: cannot make a run directory: {error.strerror}; "
            "set GPUTRAIN_HOME to a folder that you can write"
        ) from None
    raise BadInput(f"{home}: a thousand runs were started in this second")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run in a list; `status` is None if the run never wrote one."""

    run: RunDir
    status: Status | None


def list_runs() -> list[RunInfo]:
    """All runs of this user, the newest first."""
    return [RunInfo(run, run.status()) for run in directories()]


def directories() -> list[RunDir]:
    """The directories of all runs of this user, the newest first."""
    try:
        names = [entry.path for entry in os.scandir(runs_home()) if _is_run(entry)]
    except OSError:
        return []
    return [RunDir(Path(name)) for name in sorted(names, reverse=True)]


def _is_run(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and entry.is_dir()


def find(name: str) -> RunDir:
    """The run called `name`: an id, a name given by the user (the newest of several), an unambiguous start or end of an
    id, ``last``, or the path of a run directory.

    Raises BadInput with the nearest name.
    """
    if "/" in name:
        try:
            run = RunDir(files.expand_user(name).resolve())
        except (ValueError, RuntimeError, OSError) as error:
            # A NUL character, ~ of an unknown user, circular links.
            raise BadInput(f"{plain(name, 200)}: not a run directory ({plain(str(error), 200)})") from None
        # config.yaml alone proves nothing: many projects have one. plan.json is written before a run starts.
        if not run.events.exists() and not run.plan.exists():
            raise BadInput(f"{plain(name, 200)}: not a run directory (no events.jsonl in it)")
        return run
    home = runs_home()
    ids = sorted((entry.name for entry in os.scandir(home) if _is_run(entry)), reverse=True) if home.is_dir() else []
    if name != "last" and name not in ids:
        for run in (RunDir(home / one) for one in ids):
            if name and run_names.given_name(run.directory) == name:
                return run
        run_names.refuse_remote(name)
    return RunDir(home / run_names.choose(name, ids, str(home), "gputrain-tui runs"))
