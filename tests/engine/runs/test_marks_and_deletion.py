"""What a person notes about runs, and which runs go when room is made."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from fakes.locks import hold_lock

from gputrain.engine.common.errors import BadInput
from gputrain.engine.runs import delete_runs, run_directory
from gputrain.engine.runs.run_directory import RunDir, State, Status
from gputrain.engine.runs.run_marks import read_marks, write_marks

DAY = 86400.0


def make(label: str, days: float = 0.0, mib: int = 1, state: State = State.FINISHED) -> RunDir:
    run = run_directory.create(label)
    run.config.write_text("epochs: 1\n")
    (run.checkpoints / "step-1.pt").write_bytes(os.urandom(mib << 20))
    (run.checkpoints / "best.pt").hardlink_to(run.checkpoints / "step-1.pt")
    ended = time.time() - days * DAY
    boot = Status(
        state=state, started=ended - 60, heartbeat=ended, ended=ended, pid=1, pid_started=0, boot_id="", name=label
    )
    run.write_status(boot)
    return run


def test_marks_are_kept_and_found(private_homes: Path) -> None:
    first, second = make("a"), make("b")
    assert read_marks(first).tags == ()
    write_marks(first, name="my baseline", note="lr too high", add=["lr", "keep"])
    marks = write_marks(first, add=["v2"], remove=["lr"])
    assert (marks.name, marks.tags, marks.note) == ("my baseline", ("keep", "v2"), "lr too high")
    assert run_directory.find("my baseline") == first
    write_marks(second, name="my baseline")
    # Of several of a name, the newest.
    assert run_directory.find("my baseline") == max(first, second, key=lambda run: run.id)
    assert write_marks(second, name="").name == ""
    assert run_directory.find("my baseline") == first


def test_a_name_in_the_settings_finds_the_newest_run(private_homes: Path) -> None:
    older, newer = make("job"), make("job")
    assert run_directory.find("job") == newer
    assert run_directory.find(older.id) == older


@pytest.mark.parametrize("tag", ["", "two words", "-x", "a" * 41, "\x1b[31m"])
def test_tags_that_would_break_lists_are_refused(private_homes: Path, tag: str) -> None:
    with pytest.raises(BadInput, match="a tag has up to 40"):
        write_marks(make("a"), add=[tag])


def test_marks_that_somebody_broke_are_no_marks(private_homes: Path) -> None:
    run = make("a")
    (run.directory / "marks.json").write_text('{"name": 3')
    assert read_marks(run).name == ""
    (run.directory / "marks.json").write_text('{"name": "\\u001b[31mred"}')
    assert read_marks(run).name == "red"


def test_a_run_is_deleted_whole_unless_it_is_live(private_homes: Path) -> None:
    run, live = make("a"), make("b")
    child = hold_lock(live)
    try:
        with pytest.raises(BadInput, match="is running; stop it first: gputrain-tui stop"):
            delete_runs.delete(live)
        assert live.is_live()
    finally:
        child.communicate()
    assert live.config.exists()
    delete_runs.delete(run)
    assert [info.run for info in run_directory.list_runs()] == [live]
    assert [path.name for path in run_directory.runs_home().iterdir()] == [live.id]


@pytest.mark.parametrize("home", ["projects", "state/runs"])
def test_only_run_directories_are_deleted(private_homes: Path, home: str) -> None:
    """The folder of a Hydra project has a config.yaml too, wherever it lies."""
    precious = private_homes / home / "thesis"
    precious.mkdir(parents=True)
    for name in ("thesis.tex", "config.yaml", "events.jsonl", "status.json", "lock"):
        (precious / name).write_text("{}")
    with pytest.raises(BadInput, match=r"not a run directory \(it has no status\.json of a run\), and not deleted"):
        delete_runs.delete(RunDir(precious))
    assert sorted(path.name for path in precious.iterdir())[-1] == "thesis.tex"
    assert len(list(precious.iterdir())) == 5


def test_a_run_elsewhere_is_deleted_unless_it_holds_what_is_no_runs(private_homes: Path) -> None:
    run = make("a")
    elsewhere = RunDir(private_homes / "scratch" / "a")
    elsewhere.directory.parent.mkdir()
    run.directory.rename(elsewhere.directory)
    link = RunDir(run_directory.runs_home() / "20200101-000000-link")
    link.directory.symlink_to(elsewhere.directory)
    with pytest.raises(BadInput, match="for a link, name its target"):
        delete_runs.delete(link)
    thesis = elsewhere.directory / "thesis.tex"
    thesis.write_text("")
    with pytest.raises(BadInput, match=r"holds files that are not a run's: thesis\.tex; not deleted"):
        delete_runs.delete(elsewhere)
    thesis.unlink()
    (elsewhere.directory / ".status.json.abc").write_text("half a sta")
    delete_runs.delete(elsewhere)
    assert list(elsewhere.directory.parent.iterdir()) == []


def test_a_run_that_never_came_up_is_deleted(private_homes: Path) -> None:
    run = run_directory.create("a")
    delete_runs.delete(run)
    assert not run.directory.exists()


def test_pruning_by_age_leaves_kept_live_and_newest_runs(private_homes: Path) -> None:
    old, kept, live, new = make("old", 40), make("kept", 40), make("live", 40, state=State.RUNNING), make("new", 1)
    write_marks(kept, add=["keep"])
    child = hold_lock(live)
    try:
        chosen = delete_runs.choose(run_directory.list_runs(), now=time.time(), older=30 * DAY, total=None)
        assert [one.info.run for one in chosen] == [old]
        assert delete_runs.choose(run_directory.list_runs(), now=time.time(), older=30 * DAY, total=None, keep=4) == []
        assert new not in [one.info.run for one in chosen]
    finally:
        child.communicate()


def test_pruning_by_size_takes_the_oldest_until_the_rest_fits(private_homes: Path) -> None:
    for label in ("a", "b", "c", "d"):
        make(label, mib=2)
    newest_first = [info.run for info in run_directory.list_runs()]
    # Two hard links to one checkpoint take its room once.
    assert 2 << 20 <= delete_runs.size_of(newest_first[0]) < 3 << 20
    chosen = delete_runs.choose(run_directory.list_runs(), now=time.time(), older=None, total=5 << 20)
    assert [one.info.run for one in chosen] == newest_first[:1:-1]
    assert {one.why for one in chosen} == {"beyond the size"}


def test_a_large_newest_run_is_no_reason_to_lose_it_before_the_old_ones(private_homes: Path) -> None:
    oldest, middle, newest = make("a", mib=2), make("b", mib=2), make("c", mib=8)

    def gone(total: int) -> list[RunDir]:
        found = delete_runs.choose(run_directory.list_runs(), now=time.time(), older=None, total=total << 20)
        return [one.info.run for one in found]

    assert gone(11) == [oldest]
    assert gone(9) == [oldest, middle]
    # It alone is beyond the size, and stays: what was trained last is what nobody has looked at yet.
    assert gone(4) == [oldest, middle]
    write_marks(oldest, add=["keep"])
    assert gone(11) == [middle]
    assert newest.config.exists()


def test_folders_in_which_no_run_ever_was_are_left_alone(private_homes: Path) -> None:
    run, stray = make("a", 40), run_directory.runs_home() / "0-notes"
    stray.mkdir()
    (stray / "todo.txt").write_text("")
    os.utime(stray, (1, 1))
    chosen = delete_runs.choose(run_directory.list_runs(), now=time.time(), older=DAY, total=0)
    assert [one.info.run for one in chosen] == [run]


def test_ages_and_sizes_are_read_or_refused() -> None:
    assert (delete_runs.age("30d"), delete_runs.age("1.5h"), delete_runs.age("2w")) == (30 * DAY, 5400.0, 14 * DAY)
    assert (delete_runs.amount("50G"), delete_runs.amount("500 MiB"), delete_runs.amount("1.5t")) == (
        50 << 30,
        500 << 20,
        3 << 39,
    )
    for wrong in ("", "30", "d", "-3d", "3y"):
        with pytest.raises(BadInput, match="an age is"):
            delete_runs.age(wrong)
    with pytest.raises(BadInput, match="a size is"):
        delete_runs.amount("50 bananas")
