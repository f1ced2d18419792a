"""Launch a run as a detached process, and attach to a run from any process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gputrain.engine.common import renamed_names
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.files import last_line, write_atomic
from gputrain.engine.events import AnyEvent, RunEnded, decode
from gputrain.engine.events.commands import AnyCommand, encode_command
from gputrain.engine.events.speed_forecast import SpeedForecast
from gputrain.engine.processes import scheduler_signals
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.event_log import RecordReader
from gputrain.engine.runs.run_directory import RunDir

if TYPE_CHECKING:
    from gputrain.engine.configuration.setting_definitions import RunConfig
    from gputrain.engine.runs.event_channel import Client

START_SECONDS = 15.0
"""How long a supervisor may take to lock its run directory; on an idle machine it takes well under a second."""
EXIT_SECONDS = 10.0
"""How long `wait_for_exit` waits; on a full disk a supervisor stays longer."""
_LIVENESS_SECONDS = 0.5


class NotLiveError(OSError):
    """The run has no supervisor: it has ended, or was killed."""


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

    Raises BadInput if the run directory can't be written, the package of the engine or of a logger is missing, or
    ``alerts.yaml`` is wrong; RuntimeError if the supervisor does not come up.
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
    start(run)
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


def start(run: RunDir, *, resume: bool = False, environment: Mapping[str, str] | None = None) -> None:
    """Start the supervisor of a prepared run directory; `resume`: from its newest good checkpoint.

    `environment`: of the supervisor, instead of this process' own with Python's output unbuffered.

    Raises RuntimeError if it does not come up.
    """
    # A new session: SIGHUP and Ctrl-C of this terminal do not reach it. -P keeps the current folder off sys.path,
    # where a user's engine.py or queue.py would hide ours.
    with open(run.supervisor_log, "ab", opener=_private) as log, scheduler_signals.blocked_signals():
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gputrain.engine", str(run.directory), *(["--resume"] if resume else [])],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment if environment is not None else {**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    # Reap the child when it ends; otherwise a dashboard that stays open for days keeps a zombie.
    threading.Thread(target=process.wait, name="reaper", daemon=True).start()
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if (status := run.status()) is not None and status.pid == process.pid:
            return
        if process.poll() is not None:
            break
        time.sleep(0.01)
    line = last_line(run.supervisor_log)
    raise RuntimeError(f"the run's supervisor did not start{': ' + line if line else ''} ({run.supervisor_log})")


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


class Attachment:
    """Reads a run: all its events from the first, then live ones, each exactly once.

    Made by `attach`. Not thread-safe, except that `send` may be called beside `read`.
    """

    def __init__(self, run: RunDir, outlined: bool) -> None:
        self.run = run
        self.sparse_until = 0
        """Of a long record, events before this number may be left out; 0: none are."""
        self.ended = False
        """The newest event is `RunEnded`."""
        self.abandoned = False
        """The supervisor has ended without `RunEnded` and the record was read: no event will follow."""
        self.trouble = ""
        """Why there is no connection; always empty for a local run (see `remote.reconnecting_attachment`)."""
        self._outline: list[AnyEvent] | None = None if outlined else []
        """Events of the outline that were not returned yet; None: it was not read."""
        self._reader = RecordReader(run.events)
        self._cursor = 0
        self._client: Client | None = None
        self._history = True
        self._checked = 0.0
        self._live = False

    @property
    def caught_up(self) -> bool:
        """Whether all events recorded before `attach` were read."""
        return not self._history

    @property
    def live(self) -> bool:
        """Whether the run has a supervisor, checked at most half a second ago."""
        if time.monotonic() - self._checked > _LIVENESS_SECONDS:
            self._live, self._checked = self.run.is_live(), time.monotonic()
        return self._live

    def read(self, timeout: float = 0.5, limit: int = 5000) -> list[AnyEvent]:
        """The next events in order; waits up to `timeout` seconds for the first one.

        Reads the record to its end, then the supervisor's queue, and the record again if the queue fails or
        no longer has the next event. Raises OSError if the record can't be read.
        """
        if self._outline is None:
            self._read_outline()
        if self._outline:
            first, self._outline = self._outline[:limit], self._outline[limit:]
            return self._fresh(first)
        found = self._fresh(self._reader.poll(limit)) if self._history or self._client is None else []
        if found:
            return found
        self._history = False
        live = self.live
        if live and not self.ended and self._connected():
            # The run may have had no supervisor before, and was resumed.
            self.abandoned = False
            return self._from_queue(timeout, limit)
        found = self._from_record(timeout if live else 0.0, limit)
        if found and not live:
            # A supervisor may have started since the last check.
            self._checked = 0.0
        # A supervisor writes its last event before it releases the lock, so this read would have found it.
        self.abandoned = not (live or found or self.ended)
        return found

    def _read_outline(self) -> None:
        from gputrain.engine.runs.record_outline import outline  # not needed for the first screen

        self._outline = []
        if (found := outline(self.run.events)) is not None:
            self._outline, self.sparse_until = found.events, found.until
            self._reader = RecordReader(self.run.events, found.offset)

    def _connected(self) -> bool:
        if self._client is None:
            # Imports multiprocessing, so only after the record was read, and not for an ended run.
            from gputrain.engine.runs.event_channel import Client

            status = self.run.status()
            if status is None or not status.socket:
                return False
            try:
                self._client = Client(self.run, Path(status.socket))
            except (OSError, EOFError):
                return False
        return True

    def _from_queue(self, timeout: float, limit: int) -> list[AnyEvent]:
        assert self._client is not None
        try:
            cursor, lost, lines = self._client.get_many(self._cursor, limit, timeout)
        except (OSError, EOFError):
            # The supervisor has ended: the record has the rest.
            self._client, self._history, self._checked = None, True, 0.0
            return []
        if lost:
            self._history = True
            return []
        found = self._fresh([event for event in map(decode, lines) if event is not None])
        self._cursor = max(self._cursor, cursor)
        return found

    def _from_record(self, timeout: float, limit: int) -> list[AnyEvent]:
        deadline = time.monotonic() + timeout
        while not (found := self._fresh(self._reader.poll(limit))):
            if (left := deadline - time.monotonic()) <= 0:
                break
            time.sleep(min(0.1, left))
        return found

    def _fresh(self, found: list[AnyEvent]) -> list[AnyEvent]:
        fresh = [event for event in found if event.seq > self._cursor]
        if fresh:
            self._cursor = fresh[-1].seq
            self.ended = isinstance(fresh[-1], RunEnded)
        return fresh

    def send(self, command: AnyCommand) -> None:
        """Send a command to the supervisor, which answers with a `CommandTaken` event. Raises NotLiveError."""
        status = self.run.status()
        if status is None or status.state.over or not status.socket:
            raise NotLiveError(f"{self.run.id} is not running")
        from gputrain.engine.runs.event_channel import Client

        try:
            Client(self.run, Path(status.socket)).send(encode_command(command))
        except (OSError, EOFError) as error:
            raise NotLiveError(f"{self.run.id} cannot be reached: {error}") from error

    def close(self) -> None:
        """Detach; the run continues."""
        self._reader.close()
        self._client = None


def attach(run: RunDir, outlined: bool = False) -> Attachment:
    """Start reading a run, live or ended. `outlined`: read only the outline of a very long record, then all new events.

    Raises OSError if the record can't be read.
    """
    return Attachment(run, outlined)
