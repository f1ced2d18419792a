"""What the supervisor does with requests for a trace: one at a time, refused, waiting, done, and at the run's end."""

from __future__ import annotations

import json
import os
import queue
from pathlib import Path

import pytest

from gputrain.engine.events import Phase, Traced
from gputrain.engine.events.commands import AnyCommand, ProfileCommand
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.supervision.requests import requested_traces
from gputrain.engine.supervision.requests.requested_traces import RequestedTraces

EVENT = {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "tid": 1, "ts": 10.0, "dur": 5.0, "args": {"External id": 1}}


class Trainer:
    """Remembers the commands that it got."""

    pid = 1
    exit_code = None
    killed_on_request = False

    def __init__(self) -> None:
        self.got: list[AnyCommand] = []

    def send(self, command: AnyCommand) -> str:
        self.got.append(command)
        return "sent"


class Case:
    def __init__(self, engine: str = "torch") -> None:
        self.run: RunDir = run_directory.create("traced")
        self.news: queue.Queue[Traced] = queue.Queue()
        self.traces = RequestedTraces(self.run, self.news.put, engine)
        self.trainer = Trainer()

    def ask(self, request: str = "one", now: float = 0.0) -> str:
        command = ProfileCommand(id=request, steps=3, sender="me")
        return self.traces.take(command, self.trainer, now)  # type: ignore[arg-type]

    def path(self) -> Path:
        command = self.trainer.got[-1]
        assert isinstance(command, ProfileCommand)
        return Path(command.path)

    def write(self, text: str) -> None:
        self.path().write_text(text)
        assert not self.traces.learn(Traced(request="one", verdict="written", steps=3, text="a remark"), 1.0)


@pytest.fixture
def case(private_homes: Path) -> Case:
    return Case()


def test_a_trace_is_summarized_and_kept_compressed(case: Case) -> None:
    assert case.ask() == "sent"
    assert case.path().parent == case.run.directory / "traces"
    assert case.path().parent.stat().st_mode & 0o777 == 0o700
    assert case.traces.learn(Traced(request="one", verdict="recording"), 0.5)
    case.write(json.dumps({"traceEvents": [EVENT]}))
    done = case.news.get(timeout=60)
    assert (done.verdict, done.steps, done.text) == ("done", 3, "a remark")
    assert done.summary is not None
    assert done.summary.operators[0].name == "aten::mm"
    assert [str(file) for file in case.path().parent.iterdir()] == [done.file]
    assert Path(done.file).stat().st_size == done.size
    assert case.traces.learn(done, 2.0)
    assert case.ask("two") == "sent"


def test_a_second_request_at_once_is_refused_and_the_first_goes_on(case: Case) -> None:
    case.ask()
    assert case.ask("two") == "refused"
    refused = case.news.get_nowait()
    assert refused == Traced(request="two", verdict="refused", text="a trace is being recorded already, for me")
    assert case.traces.learn(refused, 0.0)
    assert len(case.trainer.got) == 1


def test_a_trace_that_is_cut_off_is_named(case: Case) -> None:
    case.ask()
    case.write('{"traceEvents": [')
    failed = case.news.get(timeout=60)
    assert failed.verdict == "failed"
    assert failed.text.startswith("the trace is incomplete or no trace: ")
    assert list(case.path().parent.iterdir()) == []
    assert case.traces.learn(failed, 2.0)
    assert case.ask("two") == "sent"


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        (Phase.PAUSED, "the run is paused: recording goes on when it does"),
        (Phase.TRAINING, "no step has ended for 20 s: the training waits for data, or hangs (key k shows where)"),
        (Phase.VALIDATING, "the run is in phase 'validating': steps are recorded when training goes on"),
    ],
)
def test_steps_that_never_end_are_said_once(case: Case, phase: Phase, words: str) -> None:
    assert case.traces.check(phase, 1000.0) is None
    case.ask(now=100.0)
    assert case.traces.check(phase, 119.0) is None
    assert case.traces.check(phase, 120.0) == Traced(request="one", verdict="waiting", text=words)
    assert case.traces.check(phase, 500.0) is None
    # It goes on, and stands still again.
    assert case.traces.learn(Traced(request="one", verdict="recording"), 501.0)
    assert case.traces.check(phase, 522.0) is not None


def test_the_end_of_the_run_ends_the_trace(case: Case) -> None:
    assert case.traces.ended() is None
    case.ask()
    case.path().write_text("half a tr")
    lost = case.traces.ended()
    assert lost == Traced(request="one", verdict="failed", text="the run ended before the trace was complete")
    assert list(case.path().parent.iterdir()) == []
    # Written just before the end: its summary is waited for, and recorded once.
    case.ask()
    case.write(json.dumps({"traceEvents": [EVENT]}))
    done = case.traces.ended()
    assert done is not None
    assert done.verdict == "done"
    assert not case.traces.learn(case.news.get(timeout=60), 3.0)


def test_what_cannot_be_traced_is_refused(private_homes: Path) -> None:
    keras = Case("keras")
    assert keras.ask() == "refused"
    assert keras.news.get_nowait().text == "engine=keras has no torch profiler"
    case = Case()
    assert case.traces.take(ProfileCommand(id="one"), None, 0.0) == "refused"
    assert case.news.get_nowait().text == "no process of the run is running now"
    (case.run.directory / "traces").write_text("a file in its place")
    assert case.ask() == "refused"
    assert case.news.get_nowait().text.endswith("traces: File exists")


def test_old_traces_are_deleted(case: Case) -> None:
    folder = case.run.directory / "traces"
    folder.mkdir()
    for number in range(8):
        (folder / f"trace-{number}.json.gz").write_text(str(number))
        os.utime(folder / f"trace-{number}.json.gz", (number, number))
    requested_traces._delete_old(folder)
    assert sorted(file.name for file in folder.iterdir()) == [f"trace-{number}.json.gz" for number in range(3, 8)]
    # An id is a user's text: it names no other folder.
    assert requested_traces._name(ProfileCommand(id="../../x y")) == "trace-xy"
