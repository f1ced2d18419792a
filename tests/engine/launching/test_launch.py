"""Attachments to runs whose supervisor ends or was killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fakes.locks import hold_lock

from gputrain.engine.events import Notice, Outcome, RunEnded
from gputrain.engine.launching import launch
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.event_log import RecordWriter
from gputrain.engine.runs.run_directory import RunDir


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
