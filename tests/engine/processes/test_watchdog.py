"""What is told of silent trainers: of real processes that can answer, that cannot, and that stand still."""

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

from gputrain.engine.events import Notice, Phase, PhaseChanged
from gputrain.engine.processes.watchdog import Watchdog

TIMEOUT = 60.0
ANSWERS = """
import faulthandler, os, signal, sys, time
faulthandler.register(signal.SIGUSR2)
stranger = os.spawnvp(os.P_NOWAIT, "sleep", ["sleep", "600"])
heard, told = os.pipe()
worker = os.fork()
def at_work():
    if worker:
        os.read(heard, 1)
        print(worker, stranger, flush=True)
    else:
        os.write(told, b".")
    time.sleep(600)
at_work()
"""
DEAF = "print(flush=True); import time; time.sleep(600)"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], tuple[int, list[int], Path]]]:
    """Starts a program; gives its pid, the pids that it prints, and its log."""
    children: list[subprocess.Popen[str]] = []

    def start(code: str) -> tuple[int, list[int], Path]:
        log = tmp_path / "log"
        with log.open("w") as file:
            child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=file, text=True)
        children.append(child)
        assert child.stdout is not None
        return child.pid, [int(word) for word in child.stdout.readline().split()], log

    yield start
    for child in children:
        family = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
        for process in family:
            process.kill()
        child.communicate()


Start = Callable[[str], tuple[int, list[int], Path]]


def logged(log: Path, text: str, times: int) -> None:
    deadline = time.monotonic() + TIMEOUT
    while log.read_text().count(text) < times:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)


def test_a_silent_trainer_and_its_workers_write_their_stacks(start: Start) -> None:
    pid, (worker, stranger), log = start(ANSWERS)
    watchdog = Watchdog(10.0)
    watchdog.began(pid, 100.0)
    watchdog.hear(PhaseChanged(phase=Phase.SCANNING_DATA), 105.0)
    assert watchdog.check(114.9) == ""
    told = watchdog.check(115.1)
    assert told.startswith("no sign of life from the trainer for 10 s in 'scanning the data': it hangs, or")
    assert told.endswith("the stacks of its threads and those of 1 of its data workers are in trainer.log")
    logged(log, "in at_work", 2)
    assert all(psutil.Process(one).status() != psutil.STATUS_ZOMBIE for one in (pid, worker, stranger))
    # Once a silence.
    assert watchdog.check(200.0) == ""
    assert watchdog.hear(Notice(level="info", text="here"), 200.0) == "the trainer goes on, after 95 s"
    assert watchdog.hear(Notice(level="info", text="here"), 201.0) == ""
    assert watchdog.check(212.0) != ""


def test_a_process_that_would_be_ended_by_the_question_is_not_asked(start: Start) -> None:
    """A trainer that has only just been started, and has said nothing yet."""
    pid, _, _ = start(DEAF)
    watchdog = Watchdog(10.0)
    watchdog.began(pid, 100.0)
    told = watchdog.check(111.0)
    assert told.startswith("no sign of life from the trainer for 11 s in 'starting': it hangs")
    assert told.endswith("hang_seconds")
    assert psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_one_that_is_stopped_is_told_as_that(start: Start) -> None:
    pid, (worker, _), log = start(ANSWERS)
    for stopped in (worker, pid):
        os.kill(stopped, signal.SIGSTOP)
        while psutil.Process(stopped).status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)
        watchdog = Watchdog(10.0)
        watchdog.began(pid, 100.0)
        told = watchdog.check(111.0)
        assert f"process {stopped} is stopped by a signal; kill -CONT {stopped} continues it" in told
    logged(log, "in at_work", 1)


@pytest.mark.parametrize("phase", [Phase.COMPILING, Phase.PAUSED])
def test_silence_that_is_to_be_expected_is_not_told(phase: Phase) -> None:
    watchdog = Watchdog(10.0)
    watchdog.began(os.getpid(), 100.0)
    watchdog.hear(PhaseChanged(phase=phase), 100.0)
    assert watchdog.check(1000.0) == ""


def test_nothing_is_told_where_nothing_runs_or_nobody_wants_it() -> None:
    assert Watchdog(10.0).check(1000.0) == ""
    never = Watchdog(0.0)
    never.began(os.getpid(), 100.0)
    assert never.check(1000.0) == ""
    gone = Watchdog(10.0)
    gone.began(2**22 + 1, 100.0)
    assert gone.check(111.0).endswith("it has ended")
