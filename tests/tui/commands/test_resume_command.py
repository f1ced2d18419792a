"""``gputrain-tui resume``: a real run is stopped and resumed from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.images import dark_and_light
from fakes.locks import hold_lock

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.common.errors import BadInput
from gputrain.engine.events import ModelReady, RunEnded, RunStarted
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.engine.launching import resume_run
from gputrain.engine.runs import event_log, run_directory
from gputrain.engine.runs.run_directory import RunDir, State

COMMAND = [sys.executable, "-m", "gputrain.tui.cli"]
SMALL = ["image_size=32", "val_resize=32", "batch_size=4", "width=4", "model=simple_cnn", "precision=fp32"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The homes of the module's one run."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def same_home(home: Path, private_homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUTRAIN_HOME", str(home / "state"))


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True)


@pytest.fixture
def stopped(home: Path) -> RunDir:
    """A run that was interrupted after some steps; made once."""
    if not run_directory.list_runs():
        images = dark_and_light(home / "images", 8)
        arguments = ["train", "--data", str(images), "--json", "epochs=10000", "checkpoint_steps=1", *SMALL]
        child = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for line in child.stdout:
            if json.loads(line)["type"] == "checkpoint" and json.loads(line)["step"] >= 2:
                break
        os.kill(child.pid, signal.SIGINT)
        message, errors = child.communicate()
        assert child.returncode == 3, message[-1000:] + errors
    return run_directory.list_runs()[-1].run


def test_what_cannot_go_on_is_refused_with_the_reason(stopped: RunDir) -> None:
    machine = inspect_machine()
    plan = resume_run.plan_from_run(stopped, {}, machine)
    steps = sorted({entry.step for entry in checkpoint_index.read_index(stopped.checkpoints)})
    with pytest.raises(BadInput, match=f"no checkpoint '999999' in .*: it has those of step {steps[0]}, "):
        resume_run.resume(stopped, plan, "999999")
    with pytest.raises(BadInput, match="batch_size: was 4 and is 8; 8 images per update, not 4; a resumed run keeps"):
        resume_run.resume(stopped, resume_run.plan_from_run(stopped, {"batch_size": 8}, machine))
    child = hold_lock(stopped)
    try:
        with pytest.raises(BadInput, match="is still running; watch it with: gputrain-tui tail"):
            resume_run.resume(stopped, plan)
    finally:
        child.communicate()


def test_a_run_goes_on_in_its_own_record(stopped: RunDir) -> None:
    before = list(event_log.read(stopped.events))
    end = before[-1]
    assert isinstance(end, RunEnded)
    done = call("resume", stopped.id, "--json", f"max_steps={end.step + 3}", "num_workers=0")
    assert done.returncode == 0, done.stderr
    events = list(event_log.read(stopped.events))
    assert events[: len(before)] == before
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    started, again = [event for event in events if isinstance(event, RunStarted)]
    assert (started.settings["num_workers"] > 0, again.settings["num_workers"]) == (True, 0)
    assert (again.origins["num_workers"], again.origins["epochs"]) == ("you", "you")
    assert [e.start_step for e in events if isinstance(e, ModelReady)] == [0, end.step]
    assert json.loads(done.stdout.splitlines()[-1])["step"] == end.step + 3
    assert any(
        "max_steps: was 0 and is" in line and "differs from here on" in line for line in done.stdout.splitlines()
    )
    status = stopped.status()
    assert status is not None
    assert (status.state, status.step) == (State.FINISHED, end.step + 3)
    finished = call("resume", "last", "--plain")
    assert finished.returncode == 2
    assert "is finished: all steps are done; to train longer, set epochs=N" in finished.stderr
    assert "Traceback" not in finished.stderr
    nothing = call("resume", "last", "--if-needed", "--plain")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert f"{stopped.id} is finished: there is nothing to resume" in nothing.stderr
    assert list(event_log.read(stopped.events)) == events


def test_from_an_earlier_step_it_becomes_a_run_of_its_own(stopped: RunDir) -> None:
    first, *_, last = checkpoint_index.newest_first(checkpoint_index.read_index(stopped.checkpoints))[::-1]
    assert first.step < last.step
    before = stopped.events.read_bytes()
    done = call("resume", stopped.id, "--from", str(first.step), "--plain", f"max_steps={first.step + 2}")
    assert done.returncode == 0, done.stderr
    assert stopped.events.read_bytes() == before
    new = run_directory.list_runs()[0].run
    assert new != stopped
    assert f"{new.id} starts from checkpoint {first.step}" in done.stderr
    (model,) = [event for event in event_log.read(new.events) if isinstance(event, ModelReady)]
    assert model.start_step == first.step


def test_a_clone_begins_anew_with_other_settings(stopped: RunDir) -> None:
    done = call("clone", stopped.id, "--plain", "max_steps=1", "num_workers=0")
    assert done.returncode == 0, done.stderr
    new = run_directory.list_runs()[0].run
    assert new != stopped
    started, *_ = event_log.read(new.events)
    assert isinstance(started, RunStarted)
    assert (started.settings["max_steps"], started.settings["resume_from"]) == (1, "")
    assert started.settings["checkpoint_steps"] == 1
    assert (started.origins["max_steps"], started.origins["checkpoint_steps"]) == ("you", "you")
