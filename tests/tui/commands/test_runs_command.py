"""``gputrain-tui runs`` and the commands mark, delete and prune."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunDir, State, Status
from gputrain.tui.cli.main import main

WHEN = 1_700_000_000.0


def make(label: str, **status: object) -> RunDir:
    run = run_directory.create(label)
    run.config.write_text("epochs: 1\n")
    values: dict[str, object] = {"state": State.FINISHED, "started": WHEN, "heartbeat": WHEN + 60, "ended": WHEN + 60}
    values |= {"pid": 1, "pid_started": 0.0, "boot_id": "", "recipe": "demo", "epochs": 2, **status}
    run.write_status(Status(**values))  # type: ignore[arg-type]
    return run


@pytest.fixture
def three(private_homes: Path) -> list[RunDir]:
    return [
        make("first", step=10, images_per_second=100.0, metric="accuracy", best=0.5),
        make("second", step=30, images_per_second=300.0, state=State.FAILED, reason="it broke"),
        make("third", step=20, images_per_second=200.0, metric="accuracy", best=0.9, recipe="resnet50"),
    ]


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    capsys.readouterr()
    assert main(["runs", "--json", *arguments]) == 0
    return [json.loads(line)["run"].rpartition("-")[2] for line in capsys.readouterr().out.splitlines()]


def test_sorted_and_filtered(three: list[RunDir], capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys, "--sort", "speed") == ["second", "third", "first"]
    assert listed(capsys, "--sort", "best") == ["third", "first", "second"]
    assert listed(capsys, "--sort", "steps", "-n", "1") == ["second"]
    assert listed(capsys, "--state", "failed") == ["second"]
    assert listed(capsys, "--find", "RESNET50") == ["third"]
    assert main(["mark", three[0].id, "--tag", "baseline", "--name", "the first", "--note", "start here"]) == 0
    assert listed(capsys, "--tag", "baseline") == ["first"]
    assert listed(capsys, "--find", "start here") == ["first"]
    assert listed(capsys, "--tag", "baseline", "--tag", "other") == []
    assert main(["runs", "--sort", "sped"]) == 2
    assert "did you mean 'speed'?" in capsys.readouterr().err


def test_the_best_come_first_whichever_way_their_metric_goes(
    private_homes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make("none")
    for label, metric, best in (("mae5", "mae", 5.0), ("mae2", "mae", 2.0), ("acc5", "accuracy", 0.5)):
        make(label, metric=metric, best=best)
    make("acc9", metric="accuracy", best=0.9)
    make("mae0", metric="mae", best=0.0)
    assert listed(capsys, "--sort", "best") == ["acc9", "acc5", "mae0", "mae2", "mae5", "none"]


def test_the_table_shows_names_tags_and_notes(three: list[RunDir], capsys: pytest.CaptureFixture[str]) -> None:
    main(["mark", "first", "--tag", "baseline", "--name", "the first", "--note", "start here"])
    capsys.readouterr()
    assert main(["runs"]) == 0
    shown = capsys.readouterr().out
    (line,) = [line for line in shown.splitlines() if "the first" in line]
    assert "baseline" in line
    assert line.endswith("start here")
    assert "it broke" in shown


def test_nothing_is_deleted_unasked(three: list[RunDir], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["delete", "first", "third"]) == 2
    assert "add --yes" in capsys.readouterr().err
    assert len(run_directory.list_runs()) == 3
    assert main(["delete", "first", "third", "--yes"]) == 0
    assert [info.run for info in run_directory.list_runs()] == [three[1]]


def test_a_folder_that_is_no_run_is_not_deleted_nor_taken_for_one(
    three: list[RunDir], private_homes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = private_homes / "project"
    project.mkdir()
    for name in ("config.yaml", "thesis.tex"):
        (project / name).write_text("")
    for command in (["delete", f"{project}/", "--yes"], ["mark", f"{project}/", "--note", "x"]):
        assert main(command) == 2
        assert "not a run directory" in capsys.readouterr().err
    (project / "events.jsonl").write_text("")
    assert main(["delete", "first", f"{project}/", "--yes"]) == 2
    assert len(list(project.iterdir())) == 3
    assert len(run_directory.list_runs()) == 3


def test_prune_shows_first_what_would_go(three: list[RunDir], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune"]) == 2
    assert main(["prune", "--older", "30d", "--keep", "1", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert sum("too old" in line for line in shown.splitlines()) == 2
    assert len(run_directory.list_runs()) == 3
    assert main(["prune", "--older", "30d", "--keep", "1", "--yes"]) == 0
    assert len(run_directory.list_runs()) == 1


def test_prune_goes_on_past_what_it_cannot_delete(
    three: list[RunDir], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = run_directory.list_runs()
    # One is deleted by another hand between the look and the deed.
    monkeypatch.setattr(run_directory, "list_runs", lambda: real)
    shutil.rmtree(three[1].directory)
    assert main(["prune", "--older", "30d", "--yes"]) == 1
    assert "not a run directory" in capsys.readouterr().err
    assert [run.directory.exists() for run in three] == [False, False, False]
