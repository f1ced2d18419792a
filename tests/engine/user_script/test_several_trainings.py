"""Several processes of a script that train, together or one after the other: whose steps are the run's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.locks import hold_file
from helpers.scripts.watched import EXEC, MAIN, TRAIN, run, script

from gputrain.engine.events import LoaderStats, Notice, RankSteps, Steps
from gputrain.engine.probe import layout
from gputrain.engine.probe.page import Page
from gputrain.engine.runs import event_log, run_directory
from gputrain.engine.user_script.page_reader import PageFolder, remove_left
from gputrain.engine.user_script.script_command import ScriptCommand
from gputrain.engine.user_script.script_events import ScriptEvents


class Training:
    """A page as the probe of another process would write it."""

    def __init__(self, folder: Path, pid: int, rank: int = -1, world: int = 1) -> None:
        self.slots = Page(str(folder), layout.TRAINER).slots
        self.slots[layout.PID], self.slots[layout.RANK], self.slots[layout.WORLD] = pid, rank, world

    def train(self, updates: int, at: float) -> None:
        """Each step takes 0.1 s, up to time `at`."""
        self.slots[layout.UPDATES] += updates
        self.slots[layout.STEP_SECONDS] += updates * 0.1
        self.slots[layout.LAST_STEP] = at


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Four that live until they are ended."""
    started = [subprocess.Popen(["sleep", "600"]) for _ in range(4)]
    yield started
    for one in started:
        one.kill()
        one.wait()


def watched(folder: Path) -> ScriptEvents:
    return ScriptEvents(PageFolder(folder), ScriptCommand(argv=("true",), cwd="/"), 0.0)


def steps(events: ScriptEvents, now: float) -> list[int]:
    return [event.step for event in events.poll(now) if isinstance(event, Steps)]


def test_a_process_that_becomes_another_program_gets_a_new_page(tmp_path: Path) -> None:
    """As by os.execv: its number stays, and so does the page of the program before."""
    first, second = Training(tmp_path, os.getpid()), Training(tmp_path, os.getpid())
    events = watched(tmp_path)
    first.train(100, at=1.0)
    assert steps(events, 1.0) == [100]
    second.train(10, at=2.0)
    assert steps(events, 2.0) == [10]


def test_one_training_after_the_other_is_seen_from_its_first_step(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    first, second = (Training(tmp_path, process.pid) for process in processes[:2])
    events = watched(tmp_path)
    first.train(100, at=1.0)
    assert steps(events, 1.0) == [100]
    first.train(5, at=1.1)
    processes[0].kill()
    processes[0].wait()
    second.train(10, at=3.0)
    found = events.poll(3.0)
    # The last steps of the first one are not lost.
    assert [event.step for event in found if isinstance(event, Steps)] == [105, 10]
    assert [event.text for event in found if isinstance(event, Notice) and "trains now" in event.text]


def test_trainings_side_by_side_are_not_mixed(tmp_path: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    one, other = (Training(tmp_path, process.pid) for process in processes[:2])
    events = watched(tmp_path)
    one.train(10, at=1.0)
    assert steps(events, 1.0) == [10]
    other.train(50, at=2.0)
    one.train(10, at=2.1)
    assert steps(events, 2.0) == [20]
    # It only prepared: the one that goes on is the training.
    other.train(50, at=20.0)
    assert steps(events, 20.0) == [100]


def test_ranks_that_are_started_again_replace_the_old_ones(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    old = [Training(tmp_path, process.pid, rank, 2) for rank, process in enumerate(processes[:2])]
    events = watched(tmp_path)
    for one in old:
        one.train(100, at=1.0)
    assert steps(events, 1.0) == [100]
    processes[0].kill()
    processes[0].wait()
    # Rank 0 has ended before rank 1: nothing follows it.
    old[1].train(10, at=1.2)
    found = events.poll(1.5)
    assert not [event for event in found if isinstance(event, Steps | Notice)]
    again = [Training(tmp_path, process.pid, rank, 2) for rank, process in enumerate(processes[2:])]
    for one in again:
        one.train(7, at=5.0)
    found = events.poll(5.0)
    assert [event.step for event in found if isinstance(event, Steps)] == [7]
    assert [event.window_steps for event in found if isinstance(event, RankSteps)] == [7]


def test_workers_of_other_ranks_are_not_counted(tmp_path: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    ranks = [Training(tmp_path, process.pid, rank, 2) for rank, process in enumerate(processes[:2])]
    for rank in ranks:
        rank.train(10, at=1.0)
    for process in processes[:2]:
        inline = Page(str(tmp_path), layout.WORKER).slots
        inline[layout.PID], inline[layout.WORKER_ID], inline[layout.WORKER_SAMPLES] = process.pid, -1, 80
        inline[layout.BUSY] = 0.5
    found = watched(tmp_path).poll(2.0)
    (stats,) = (event for event in found if isinstance(event, LoaderStats))
    assert (stats.kind, stats.workers, stats.samples) == ("inline", 1, 80)


def test_pages_of_killed_supervisors_are_removed_and_nothing_else(tmp_path: Path) -> None:
    home, other = tmp_path / "memory", tmp_path / "gputrain-mine"
    for folder in (home / "gputrain-left", home / "gputrain-live", home / "gputrain-no-pages", other):
        folder.mkdir(parents=True)
        (folder / "1-1-1.page").touch()
    for folder in (home / "gputrain-left", home / "gputrain-live", other):
        (folder / "owner").touch()
    (home / "gputrain-link").symlink_to(other)
    with hold_file(home / "gputrain-live" / "owner") as holder:
        remove_left(home)
        assert sorted(one.name for one in home.iterdir()) == ["gputrain-link", "gputrain-live", "gputrain-no-pages"]
        assert len(list(other.iterdir())) == 2
        holder.communicate(timeout=60)
    remove_left(home)
    assert not (home / "gputrain-live").exists()


@pytest.mark.long
def test_a_shell_script_that_trains_twice_shows_both(tmp_path: Path) -> None:
    slow = "    import time\n    time.sleep(0.02)\n"
    path = script(tmp_path, TRAIN.replace("def after_step(count):\n", "def after_step(count):\n" + slow) + MAIN)
    command = f"{sys.executable} {path} 0 '' && {sys.executable} {path} 0 ''"
    done = run([*EXEC, "--raw", "--", "sh", "-c", command])
    assert done.returncode == 0
    events = list(event_log.read(run_directory.find("last").events))
    assert sum(event.window_steps for event in events if isinstance(event, Steps)) == 2 * 87


def test_rank_0_may_end_before_the_others_are_seen(tmp_path: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    ranks = [Training(tmp_path, process.pid, rank, 2) for rank, process in enumerate(processes[:2])]
    events = watched(tmp_path)
    for rank in ranks:
        rank.train(100, at=1.0)
    processes[0].kill()
    processes[0].wait()
    found = events.poll(1.0)
    processes[1].kill()
    processes[1].wait()
    found += events.poll(2.0, last=True)
    assert [event.step for event in found if isinstance(event, Steps)] == [100]
    assert [event.rank for event in found if isinstance(event, RankSteps)] == [1]
    assert not [event for event in found if isinstance(event, Notice) and "trains now" in event.text]


def test_rank_0_may_make_its_first_update_after_the_others(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    ranks = [Training(tmp_path, process.pid, rank, 2) for rank, process in enumerate(processes[:2])]
    events = watched(tmp_path)
    ranks[1].train(10, at=1.0)
    assert steps(events, 1.0) == [10]
    for rank, updates in zip(ranks, (20, 10), strict=True):
        rank.train(updates, at=2.0)
    found = events.poll(2.0)
    assert [event.step for event in found if isinstance(event, Steps)] == [20]
    assert not [event for event in found if isinstance(event, Notice) and "trains now" in event.text]
