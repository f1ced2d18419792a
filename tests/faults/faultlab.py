"""Where faults are tried: real runs that train on real files, and an audit of what a fault left behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psutil
from fakes.images import dark_and_light

from gputrain.engine.configuration import settings
from gputrain.engine.events import AnyEvent, ModelReady, RunEnded, RunStarted, Steps
from gputrain.engine.launching import launch
from gputrain.engine.launching.attachment import Attachment
from gputrain.engine.runs import event_log
from gputrain.engine.runs.run_directory import RunDir

TIMEOUT = 120.0
"""Seconds to wait for an event before the test fails; not a measure of speed."""
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one try of a fault."""

    survived: bool
    """Everything that can continue did, and the messages are correct."""
    lost: int
    """Events missing in the record, checkpoints that were announced and cannot be read, samples not trained on."""
    said: str = ""
    """The message to the user, or what went wrong."""
    named: float | None = None
    """Seconds from the fault until the record names it."""
    again: float | None = None
    """Seconds from the fault until the first step after it."""


@dataclass(slots=True)
class Live:
    """A training run."""

    run: RunDir
    attachment: Attachment
    events: list[AnyEvent] = field(default_factory=list)
    trainer: int = 0

    @property
    def supervisor(self) -> int:
        """Process id of the supervisor."""
        status = self.run.status()
        assert status is not None
        return status.pid

    def until(self, kind: type[E], wanted: Callable[[E], bool] = lambda _: True, since: int = 0) -> E:
        """The first event of `kind` that is `wanted`, number `since` or later; waits for it."""
        deadline = time.monotonic() + TIMEOUT
        looked = next((i for i, event in enumerate(self.events) if event.seq >= since), len(self.events))
        while True:
            for event in self.events[looked:]:
                if event.seq >= since and isinstance(event, kind) and wanted(event):
                    return event
            looked = len(self.events)
            fresh = self.attachment.read()
            self.events += fresh
            over = self.attachment.abandoned or self.attachment.ended
            if not fresh and (time.monotonic() > deadline or over):
                log = self.run.supervisor_log.read_text(errors="replace")[-500:]
                raise AssertionError(f"no {kind.__name__}; last: {self.events[-1:]}; supervisor.log: {log}")

    @property
    def newest(self) -> int:
        """Number of the newest event that was read, after all that waits was read."""
        while found := self.attachment.read(timeout=0.0):
            self.events += found
        return self.events[-1].seq if self.events else 0

    def steps_on(self) -> None:
        """Wait for a new step."""
        self.until(Steps, since=self.newest + 1)


class Lab:
    """Starts runs, one at a time; a run that survives its fault is used for the next one too."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder = folder
        self.images = dark_and_light(folder / "images", 8)
        self.seed = seed
        self.random = random.Random(seed)
        self.undisturbed: list[str] = []
        """Samples of a run without a fault, created on demand."""
        self._live: Live | None = None
        self._settings: dict[str, Any] = {}

    def config(self, **changes: Any) -> dict[str, Any]:
        """Settings of an endless run with tiny steps."""
        return {
            "device": "cpu",
            "dataset": "imagefolder",
            "data_dir": str(self.images),
            "image_size": 32,
            "val_resize": 32,
            "val_split": "",
            "batch_size": 4,
            "num_workers": 1,
            "loader": "threads",
            "width": 4,
            "epochs": 1_000_000,
            "lr": 0.001,
            "schedule": "constant",
            "precision": "fp32",
            "checkpoint_epochs": 0,
            "sample_seconds": 0.5,
            "recipe": "fault",
        } | changes

    def launch(self, **changes: Any) -> Live:
        """A new run, which the caller ends."""
        run = launch.launch(settings.build(self.config(**changes)))
        return Live(run, launch.attach(run))

    def running(self, **changes: Any) -> Live:
        """A run that trains: the one before, if it still does and has these settings, or a new one."""
        if self._live is not None and (self._settings != changes or not _alive(self._live)):
            self.close()
        if self._live is None:
            self._live, self._settings = self.launch(**changes), changes
            self._live.until(Steps)
            self._live.trainer = self._live.until(ModelReady).trainer_pid
        return self._live

    def close(self) -> None:
        """End the run."""
        if self._live is not None:
            end(self._live)
        self._live = None


def _alive(live: Live) -> bool:
    return live.run.is_live() and psutil.pid_exists(live.trainer) and not live.attachment.ended


def end(live: Live) -> None:
    """End a run at once, whatever state it is in."""
    live.attachment.close()
    status = live.run.status()
    if status is not None and live.run.is_live():
        kill_tree(status.pid)
    elif live.trainer:
        gone(live.trainer, kill=True)


def kill_tree(pid: int) -> None:
    """Kill a process and its descendants."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(family, timeout=TIMEOUT)


def gone(pid: int, *, kill: bool = False) -> None:
    """Wait until a process has ended, or is a zombie."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return
            if kill:
                os.kill(pid, signal.SIGKILL)
        except (psutil.NoSuchProcess, ProcessLookupError):
            return
        assert time.monotonic() < deadline, f"{pid} does not end"
        time.sleep(0.01)


def let_go(run: RunDir) -> None:
    """Wait until a run has no supervisor."""
    deadline = time.monotonic() + TIMEOUT
    while run.is_live():
        assert time.monotonic() < deadline, f"{run.id} is still owned"
        time.sleep(0.01)


def missing_events(run: RunDir) -> int:
    """Numbers that are missing between the first and the last event of a record."""
    numbers = [event.seq for event in event_log.read(run.events)]
    assert numbers == sorted(set(numbers)), "numbers came twice or out of order"
    return numbers[-1] - len(numbers) if numbers else 0


def bad_checkpoints(run: RunDir) -> int:
    """Number of indexed checkpoints whose file is missing or does not match its checksum."""
    try:
        entries = msgspec.json.decode((run.checkpoints / "index.json").read_bytes())
    except FileNotFoundError:
        entries = []
    bad = 0
    for entry in entries:
        path = run.checkpoints / entry["file"]
        bad += not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]
    return bad


def newest_checkpoint(run: RunDir) -> int:
    """Step of the newest checkpoint in the index; -1 without one."""
    try:
        entries = msgspec.json.decode((run.checkpoints / "index.json").read_bytes())
    except FileNotFoundError:
        return -1
    return max((entry["step"] for entry in entries), default=-1)


def lost(run: RunDir) -> int:
    """Number of missing events and checkpoints of a run."""
    return missing_events(run) + bad_checkpoints(run)


def last_step(run: RunDir) -> int:
    """The newest step in the record since the run was last started: a life before may have come further."""
    newest = 0
    for event in event_log.read(run.events):
        if isinstance(event, RunStarted):
            newest = 0
        elif isinstance(event, Steps):
            newest = max(newest, event.step)
    return newest


def ending(live: Live) -> RunEnded:
    """Wait for the run's last event."""
    return live.until(RunEnded)


@contextlib.contextmanager
def soft_limit(pid: int, which: int, value: int) -> Iterator[None]:
    """Give a process a lower resource limit for a while."""
    before = psutil.Process(pid).rlimit(which)
    assert before is not None
    psutil.Process(pid).rlimit(which, (value, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).rlimit(which, before)
