"""A run directory that version 0.1 wrote: this version lists, shows, exports, resumes and launches it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from fakes.old_run import NAME, add_old_run, write_images

from gputrain.engine.events import HardwareSample, Outcome, RunEnded, RunStarted, Steps
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.event_log import read
from gputrain.tui.cli.main import main


def test_the_list_shows_its_state_marks_and_metric(capsys: pytest.CaptureFixture[str]) -> None:
    add_old_run()
    assert main(["runs", "--json"]) == 0
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (row["run"], row["state"], row["name"]) == (NAME, "stopped", "old-run")
    assert row["tags"] == ["baseline"]
    assert row["note"] == "first try"
    assert row["best"] == 0.5


def test_tail_prints_its_whole_record(capsys: pytest.CaptureFixture[str]) -> None:
    add_old_run()
    assert main(["tail", "last", "--plain"]) == 3
    out = capsys.readouterr().out
    assert "simple_cnn, 4 318 parameters, fp32 on x86-64 CPU" in out
    assert "epoch 1 done" in out
    assert "stopped on request, after a checkpoint" in out
    assert "steps          9 of 36, epochs 1 of 6" in out


def test_its_record_is_read_with_the_present_names(capsys: pytest.CaptureFixture[str]) -> None:
    run = add_old_run()
    written = [json.loads(line) for line in run.events.read_text().splitlines()]
    found = list(read(run.events))
    assert [event.seq for event in found] == [event["seq"] for event in written]
    started = next(event for event in found if isinstance(event, RunStarted))
    assert started.settings["color_jitter"] == written[0]["settings"]["colour_jitter"]
    assert "colour_jitter" not in started.settings
    assert started.origins["color_jitter"] == "default"
    foreign = [event.other_processes for event in found if isinstance(event, HardwareSample)]
    assert [len(one) for one in foreign] == [len(e.get("others", ())) for e in written if e["type"] == "hardware"]
    assert any(foreign)


def test_its_curves_are_exported(tmp_path: Path) -> None:
    add_old_run()
    assert main(["export", "last", str(tmp_path / "curves.csv")]) == 0
    with (tmp_path / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"loss", "images_per_second", "cpu"} <= {row["curve"] for row in rows}
    assert [float(row["mean"]) for row in rows if row["curve"] == "val_loss"] == [pytest.approx(0.69275, abs=1e-5)]


def test_resume_trains_it_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = add_old_run()
    before = run.events.read_bytes()
    images = write_images(tmp_path / "images")
    code = main(["resume", "last", f"data_dir={images}", "--plain"])
    out, err = capsys.readouterr()
    assert code == 0, out + err
    assert "colour_jitter was renamed to color_jitter; the old name still works" in err
    assert run.events.read_bytes().startswith(before)
    found = list(read(run.events))
    assert [event.seq for event in found] == list(range(1, len(found) + 1))
    ended = found[-1]
    assert isinstance(ended, RunEnded)
    assert (ended.outcome, ended.step) == (Outcome.FINISHED, 36)
    windows = [event for event in found if isinstance(event, Steps)]
    assert sum(window.window_steps for window in windows) == 36  # none was trained twice or left out
    assert "color_jitter" in run.config.read_text()
    assert "colour_jitter" not in run.config.read_text()


def test_its_config_file_launches_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = add_old_run()
    images = write_images(tmp_path / "images")
    code = main(["train", "--config", str(old.config), "--data", str(images), "epochs=1", "name=again", "--plain"])
    out, err = capsys.readouterr()
    assert code == 0, out + err
    assert f"{old.config}:29: colour_jitter was renamed to color_jitter" in err + out
    again = run_directory.find("again")
    ended = list(read(again.events))[-1]
    assert isinstance(ended, RunEnded)
    assert (ended.outcome, ended.step) == (Outcome.FINISHED, 6)
