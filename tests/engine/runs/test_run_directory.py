"""Run directories: made private, found by name, and the truth about who owns them."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest
from fakes.locks import hold_lock

from gputrain.engine.common.errors import BadInput
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunDir, State, Status


def status(state: State) -> Status:
    now = time.time()
    return Status(state=state, started=now, heartbeat=now, pid=os.getpid(), pid_started=0.0, boot_id="")


def test_directories_are_private_and_never_shared(private_homes: Path) -> None:
    first, second = run_directory.create("demo"), run_directory.create("demo")
    assert first.directory != second.directory
    assert first.directory.stat().st_mode & 0o777 == 0o700
    assert first.checkpoints.stat().st_mode & 0o777 == 0o700


def test_a_label_cannot_leave_the_folder(private_homes: Path) -> None:
    run = run_directory.create("../../etc/passwd")
    assert run.directory.parent == run_directory.runs_home()


def test_an_unwritable_home_is_bad_input(private_homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocker = private_homes / "file"
    blocker.write_text("")
    monkeypatch.setenv("GPUTRAIN_HOME", str(blocker))
    with pytest.raises(BadInput, match="set GPUTRAIN_HOME to a folder that you can write"):
        run_directory.create("demo")


def test_a_live_status_without_a_supervisor_means_died(private_homes: Path) -> None:
    run = run_directory.create("demo")
    run.write_status(status(State.RUNNING))
    found = run.status()
    assert found is not None
    assert found.state is State.DIED
    child = hold_lock(run)
    try:
        found = run.status()
        assert found is not None
        assert found.state is State.RUNNING
    finally:
        child.communicate()
    run.write_status(status(State.FINISHED))
    found = run.status()
    assert found is not None
    assert found.state is State.FINISHED


def test_testing_a_lock_does_not_take_it(private_homes: Path) -> None:
    run = run_directory.create("demo")
    assert not run.is_live()
    run.lock.touch()
    assert not run.is_live()
    handle = os.open(run.lock, os.O_RDWR)
    fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(handle)


def test_an_incomplete_status_is_no_status(private_homes: Path) -> None:
    run = run_directory.create("demo")
    (run.directory / "status.json").write_text('{"state": "run')
    assert run.status() is None
    assert [info.run for info in run_directory.list_runs()] == [run]


def test_runs_are_found_by_id_end_path_and_last(private_homes: Path) -> None:
    with pytest.raises(BadInput, match="there are no runs yet"):
        run_directory.find("last")
    run = run_directory.create("demo")
    other = run_directory.create("other")
    run.events.touch()
    assert run_directory.find(run.id) == run
    assert run_directory.find("other") == other
    assert run_directory.find("last") == max(run, other, key=lambda r: r.id)
    assert run_directory.find(str(run.directory)) == RunDir(run.directory.resolve())
    with pytest.raises(BadInput, match="fits 2 runs"):
        run_directory.find(run.id[:4])
    with pytest.raises(BadInput, match=f"did you mean '{run.id}'"):
        run_directory.find(run.id + "x")
    for bad in ("../..", "./a\0b", "~nobody-of-that-name/run"):
        with pytest.raises(BadInput, match=r"not a run directory|no home directory"):
            run_directory.find(bad)
