"""Real runs, launched like a user does, and ended in every way a run can end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from fakes.images import dark_and_light

from gputrain.engine.configuration import settings
from gputrain.engine.events import (
    AnyEvent,
    CheckpointSaved,
    CommandTaken,
    HardwareSample,
    LogLine,
    ModelReady,
    Outcome,
    Phase,
    PhaseChanged,
    RunEnded,
    RunStarted,
    Steps,
)
from gputrain.engine.events.commands import CheckpointCommand, PauseCommand, ResumeCommand, StopCommand
from gputrain.engine.launching import launch
from gputrain.engine.launching.attachment import Attachment, NotLiveError
from gputrain.engine.runs import event_log
from gputrain.engine.runs.run_directory import RunDir, State

TIMEOUT = 60.0


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dark_and_light(tmp_path_factory.mktemp("images"), 8)


def start(images: Path, **changes: Any) -> RunDir:
    values: dict[str, Any] = {
        "device": "cpu",
        "dataset": "imagefolder",
        "data_dir": str(images),
        "image_size": 32,
        "val_resize": 32,
        "batch_size": 4,
        "num_workers": 1,
        "loader": "threads",
        "width": 4,
        "epochs": 2,
        "precision": "fp32",
        "sample_seconds": 0.2,
        "recipe": "test",
    }
    return launch.launch(settings.build(values | changes), {"epochs": "you"}, ("a warning of the plan",))


class Watch:
    """Reads a run until an event arrives."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.attachment: Attachment = launch.attach(run)
        self.events: list[AnyEvent] = []

    def until(self, wanted: Callable[[AnyEvent], bool]) -> AnyEvent:
        deadline = time.monotonic() + TIMEOUT
        seen = 0
        while time.monotonic() < deadline:
            for event in self.events[seen:]:
                if wanted(event):
                    return event
            seen = len(self.events)
            self.events += self.attachment.read()
        last = self.events[-1] if self.events else None
        pytest.fail(f"it did not happen; last: {last}; supervisor.log: {self.run.supervisor_log.read_text()}")

    def until_end(self) -> RunEnded:
        event = self.until(lambda event: isinstance(event, RunEnded))
        assert isinstance(event, RunEnded)
        return event

    def until_training(self) -> int:
        """Returns the trainer's pid once it has done a step."""
        self.until(lambda event: isinstance(event, Steps))
        (model,) = [event for event in self.events if isinstance(event, ModelReady)]
        return model.trainer_pid


@pytest.fixture
def watched() -> Iterator[Callable[[RunDir], Watch]]:
    open_ones: list[Watch] = []

    def make(run: RunDir) -> Watch:
        open_ones.append(Watch(run))
        return open_ones[-1]

    yield make
    for watch in open_ones:
        watch.attachment.close()
        status = watch.run.status()
        if status is not None and not status.state.over:
            os.kill(status.pid, signal.SIGKILL)


Watched = Callable[[RunDir], Watch]


def gone(pid: int) -> None:
    """Wait until a process has ended, or is a zombie."""
    deadline = time.monotonic() + TIMEOUT
    while (process := _process(pid)) is not None and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def let_go(run: RunDir) -> None:
    """Wait until a run has no supervisor: a process may count as gone while the last of its threads still ends."""
    deadline = time.monotonic() + TIMEOUT
    while run.is_live():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def test_a_run_from_launch_to_end(images: Path, watched: Watched) -> None:
    run = start(images, resources_csv=True)
    first, second = watched(run), watched(run)
    ended = first.until_end()
    second.until_end()
    assert ended.outcome is Outcome.FINISHED
    assert [event.seq for event in first.events] == list(range(1, len(first.events) + 1))
    assert second.events == first.events
    late = watched(run)
    late.until_end()
    assert late.events == first.events == list(event_log.read(run.events))
    started = first.events[0]
    assert isinstance(started, RunStarted)
    assert started.settings["epochs"] == 2
    assert started.origins == {"epochs": "you"}
    assert any(isinstance(event, HardwareSample) for event in first.events)
    assert (run.directory / "resources.csv").read_text().count("\n") >= 2
    status = run.status()
    assert status is not None
    assert (status.state, status.step, status.total_steps) == (State.FINISHED, 8, 8)
    gone(status.pid)
    let_go(run)
    for path in run.directory.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.long
def test_a_killed_trainer_is_reported_as_killed(images: Path, watched: Watched) -> None:
    watch = watched(start(images, epochs=10_000, num_workers=2, loader="processes"))
    trainer = watch.until_training()
    workers = psutil.Process(trainer).children(recursive=True)
    os.kill(trainer, signal.SIGKILL)
    ended = watch.until_end()
    assert (ended.outcome, ended.signal) == (Outcome.KILLED, signal.SIGKILL)
    assert "SIGKILL" in ended.reason
    assert ended.step >= 1
    assert not psutil.wait_procs(workers, timeout=TIMEOUT)[1]


@pytest.mark.long
def test_an_orphan_trainer_saves_and_exits(images: Path, watched: Watched) -> None:
    run = start(images, epochs=10_000, checkpoint_epochs=0, val_split="")
    watch = watched(run)
    trainer = watch.until_training()
    status = run.status()
    assert status is not None
    os.kill(status.pid, signal.SIGKILL)
    gone(trainer)
    status = run.status()
    assert status is not None
    assert status.state is State.DIED
    assert list(run.checkpoints.glob("step-*.pt"))
    watch.attachment.read()
    assert not watch.attachment.ended


def test_commands_reach_the_trainer(images: Path, watched: Watched) -> None:
    run = start(images, epochs=10_000, checkpoint_epochs=0, val_split="")
    watch = watched(run)
    trainer = watch.until_training()
    # A run ignores SIGHUP.
    status = run.status()
    assert status is not None
    os.kill(status.pid, signal.SIGHUP)
    watch.attachment.send(CheckpointCommand(sender="test"))
    saved = watch.until(lambda event: isinstance(event, CheckpointSaved))
    assert isinstance(saved, CheckpointSaved)
    assert saved.kind == "requested"
    watch.attachment.send(PauseCommand(sender="test"))
    watch.until(lambda event: isinstance(event, PhaseChanged) and event.phase is Phase.PAUSED)
    paused = run.status()
    watch.attachment.send(ResumeCommand(sender="test"))
    watch.until(lambda event: isinstance(event, CommandTaken) and event.command == "resume")
    watch.attachment.send(StopCommand(checkpoint=True, sender="test"))
    ended = watch.until_end()
    assert ended.outcome is Outcome.STOPPED
    assert paused is not None
    commands = [event.command for event in watch.events if isinstance(event, CommandTaken)]
    assert commands == ["checkpoint", "pause", "resume", "stop after a checkpoint"]
    assert (run.checkpoints / f"step-{ended.step:08d}.pt").exists()
    gone(trainer)
    with pytest.raises(NotLiveError):
        watch.attachment.send(StopCommand())


def test_sigterm_to_the_supervisor_stops_after_a_checkpoint(images: Path, watched: Watched) -> None:
    run = start(images, epochs=10_000, checkpoint_epochs=0, val_split="")
    watch = watched(run)
    watch.until_training()
    status = run.status()
    assert status is not None
    os.kill(status.pid, signal.SIGTERM)
    ended = watch.until_end()
    assert ended.outcome is Outcome.STOPPED
    assert list(run.checkpoints.glob("step-*.pt"))


def test_a_data_error_is_the_reason_of_the_end(images: Path, tmp_path: Path, watched: Watched) -> None:
    (tmp_path / "data" / "train" / "empty").mkdir(parents=True)
    watch = watched(start(tmp_path / "data"))
    ended = watch.until_end()
    assert ended.outcome is Outcome.FAILED
    assert ended.error.startswith("BadInput: ")
    assert "the class folder" in ended.reason
    assert "has no images" in ended.reason


def test_a_failure_is_reported_with_traceback_and_output(images: Path, tmp_path: Path, watched: Watched) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"these are no weights")
    watch = watched(start(images, weights=str(weights)))
    ended = watch.until_end()
    assert ended.outcome is Outcome.FAILED
    assert "weights.pth is not a file of weights" in ended.reason


def test_a_supervisor_that_cannot_start_says_why(images: Path) -> None:
    run = start(images, epochs=1)
    watch = Watch(run)
    watch.until_end()
    watch.attachment.close()
    run.config.write_text("batch_size: 0\n")
    with pytest.raises(RuntimeError, match="batch_size must be ≥ 1, got 0"):
        launch.start(run)


def test_log_lines_reach_the_record(images: Path, watched: Watched) -> None:
    """The trainer's output is in its log and, sanitized, in the record."""
    run = start(images, epochs=10_000, val_split="", checkpoint_epochs=0)
    watch = watched(run)
    watch.until_training()
    with run.trainer_log.open("ab") as log:
        log.write(b"\x1b[31mred\x1b[0m [bold]not markup[/bold]\n" + b"x" * 1_000_000 + b"\nend\n")
    watch.until(lambda event: isinstance(event, LogLine) and event.text == "end")
    texts = [event.text for event in watch.events if isinstance(event, LogLine)]
    assert "red [bold]not markup[/bold]" in texts
    assert all(len(text) <= 2000 for text in texts)
    watch.attachment.send(StopCommand(checkpoint=False))
    assert watch.until_end().outcome is Outcome.STOPPED
