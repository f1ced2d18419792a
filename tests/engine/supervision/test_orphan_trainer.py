"""Trainers that outlived their supervisor: real processes that hold a run's lock, awake, asleep and elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from gputrain.engine.common.errors import BadInput
from gputrain.engine.runs import delete_runs, run_directory
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.runs.run_lock import is_held
from gputrain.engine.supervision import orphan_trainer

TIMEOUT = 60.0
HOLD = """
import signal, subprocess, sys
from pathlib import Path
from gputrain.engine.supervision import orphan_trainer
from gputrain.engine.runs.run_directory import RunDir

signal.signal(signal.SIGCONT, lambda *_: sys.exit())
orphan_trainer.acquire_trainer_lock(RunDir(Path(sys.argv[1])))
worker = subprocess.Popen(["sleep", "600"])
print(worker.pid, flush=True)
signal.pause() if sys.argv[2] == "ends" else worker.wait()
"""


@pytest.fixture
def run(private_homes: Path) -> RunDir:
    return run_directory.create("demo")


@pytest.fixture
def trainer(run: RunDir) -> Iterator[Callable[[str], tuple[psutil.Process, psutil.Process]]]:
    """Starts a process that holds the lock as a trainer does, and one that it started itself."""
    children: list[subprocess.Popen[str]] = []
    started: list[psutil.Process] = []

    def start(how: str) -> tuple[psutil.Process, psutil.Process]:
        code = HOLD if how == "ends" else HOLD.replace("lambda *_: sys.exit()", "signal.SIG_IGN")
        command = [sys.executable, "-c", code, str(run.directory), how]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        children.append(child)
        assert child.stdout is not None
        with child.stdout:
            pair = (psutil.Process(child.pid), psutil.Process(int(child.stdout.readline())))
        started.extend(pair)
        return pair

    yield start
    for process in started:
        if process.is_running():
            process.kill()
    for child in children:
        child.wait(TIMEOUT)


def wait(seconds: float, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not done():
        time.sleep(0.01)


def test_nothing_is_told_where_nobody_is_left(run: RunDir) -> None:
    told: list[str] = []
    assert orphan_trainer.terminate(run, told.append, wait) == ""
    run.trainer_lock.write_text("of one that ended")
    assert orphan_trainer.terminate(run, told.append, wait) == ""
    assert told == []


def test_one_that_was_stopped_is_woken_and_waited_for(
    run: RunDir, trainer: Callable[[str], tuple[psutil.Process, psutil.Process]]
) -> None:
    process, _ = trainer("ends")
    process.send_signal(signal.SIGSTOP)
    told: list[str] = []
    with pytest.raises(BadInput, match=rf"another trainer of {run.id} is still running \(pid {process.pid}\)"):
        orphan_trainer.acquire_trainer_lock(run)
    with pytest.raises(BadInput, match="its trainer, whose supervisor was killed, saves into"):
        delete_runs.delete(run)
    assert orphan_trainer.terminate(run, told.append, lambda _, done: wait(TIMEOUT, done)) == ""
    assert told == [
        f"the trainer (pid {process.pid}) of a killed supervisor is still running; waiting for its last checkpoint"
    ]
    orphan_trainer.acquire_trainer_lock(run)


def test_one_that_does_not_end_is_killed_with_its_workers(
    run: RunDir, trainer: Callable[[str], tuple[psutil.Process, psutil.Process]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphan_trainer, "EXIT_TIMEOUT_SECONDS", 0.1)
    process, worker = trainer("hangs")
    told: list[str] = []
    # A stop is asked for before the time is over: then it is let live.
    assert f"still running (pid {process.pid})" in orphan_trainer.terminate(run, told.append, lambda *_: None)
    assert process.is_running()
    assert orphan_trainer.terminate(run, told.append, wait) == ""
    assert told[-1] == "it did not exit by itself within 0 s and was killed"
    psutil.wait_procs([worker], timeout=TIMEOUT)
    assert not worker.is_running()


def test_nobody_is_killed_by_a_number_alone(
    run: RunDir, trainer: Callable[[str], tuple[psutil.Process, psutil.Process]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is held, and the process of that number is another one: as over a shared disk."""
    monkeypatch.setattr(orphan_trainer, "EXIT_TIMEOUT_SECONDS", 0.1)
    process, _ = trainer("hangs")
    owner = run.trainer_lock.read_text()
    stranger = os.getppid()
    run.trainer_lock.write_text(owner.replace(str(process.pid), str(stranger)))
    why = orphan_trainer.terminate(run, lambda _: None, wait)
    assert why == "another trainer of this run is still running on another host"
    assert is_held(run.trainer_lock)
    assert psutil.pid_exists(stranger)
