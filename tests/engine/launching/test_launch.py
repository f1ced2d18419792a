"""Attachments to runs whose supervisor ends or was killed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes.locks import hold_lock

from gputrain.engine.events import Notice, Outcome, RunEnded
from gputrain.engine.launching import launch
from gputrain.engine.launching.launch_script import launch_script
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.event_log import RecordWriter
from gputrain.engine.runs.run_directory import RunDir, State, Status
from gputrain.engine.user_script.script_command import ScriptCommand


@contextmanager
def owned(run: RunDir) -> Iterator[None]:
    """A process has the run's lock inside."""
    child = hold_lock(run)
    try:
        yield
    finally:
        child.communicate()


def test_the_last_event_of_an_ending_supervisor_is_read(private_homes: Path) -> None:
    run = run_directory.create("demo")
    record = RecordWriter(run.events)
    record.append(Notice(level="info", text="begun", source="supervisor"))
    attachment = launch.attach(run)
    with owned(run):
        assert len(attachment.read(timeout=0)) == 1
        # The supervisor may write its last word and leave right after this call has looked at the record.
        assert attachment.read(timeout=0) == []
        assert not attachment.abandoned
        record.append(RunEnded(outcome=Outcome.FINISHED, reason="done"))
    assert not attachment.abandoned
    assert [type(event) for event in attachment.read(timeout=0)] == [RunEnded]
    assert attachment.ended
    assert attachment.read(timeout=0) == []
    assert not attachment.abandoned


def test_a_supervisor_that_ended_without_a_last_event_is_detected(private_homes: Path) -> None:
    run = run_directory.create("demo")
    RecordWriter(run.events).append(Notice(level="info", text="begun", source="supervisor"))
    with owned(run):
        assert run.is_live()
        assert not run.own()
    attachment = launch.attach(run)
    assert len(attachment.read(timeout=0)) == 1
    assert not attachment.abandoned
    assert attachment.read(timeout=0) == []
    assert attachment.abandoned


def test_a_run_that_ends_between_two_looks_at_its_status_has_started(
    private_homes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = RunDir.status
    looks = []

    def late(run: RunDir) -> Status | None:
        looks.append(run)
        while len(looks) == 1 and not ((status := run.written_status()) and status.state.over and not run.is_live()):
            time.sleep(0.01)
        return None if len(looks) == 1 else read(run)

    monkeypatch.setattr(RunDir, "status", late)
    run = launch_script(ScriptCommand(argv=("true",), cwd=str(private_homes)))
    status = run.status()
    assert status is not None
    assert status.state is State.FINISHED


def test_a_supervisor_that_is_too_slow_trains_nothing_later(
    private_homes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "START_SECONDS", 0.0)
    mark = private_homes / "trained"
    with pytest.raises(RuntimeError, match="the run's supervisor did not start"):
        launch_script(ScriptCommand(argv=("touch", str(mark)), cwd=str(private_homes)))
    assert not run_directory.find("last").is_live()
    assert not mark.exists()
