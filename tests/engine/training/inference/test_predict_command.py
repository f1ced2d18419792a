"""``gputrain-tui predict``: table, CSV file, JSON, comparison and errors, on a trained run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.images import dark_and_light
from helpers.training.training_tools import small_config, train

from gputrain.engine.launching import launch
from gputrain.engine.launching.launch import PlanRecord
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunDir
from gputrain.tui.cli import main


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def run(home: Path, private_homes: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """Trained once."""
    monkeypatch.setenv("GPUTRAIN_HOME", str(home / "state"))
    if run_directory.list_runs():
        return run_directory.find("last")
    target = run_directory.create("predicted")
    config = small_config(dark_and_light(home / "images", 6), epochs=1, batch_size=4)
    launch.write_settings(target, config, PlanRecord())
    train(target.directory, config)
    return target


def test_predict_prints_a_table_writes_csv_and_compares_runs(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.csv"
    assert main.main(["predict", "last", "--compare", "--output", str(output)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(run.id)
    assert lines[0].endswith(": 12 samples")
    assert lines[1].split("  ")[0] == "device"
    assert " fp32 " in lines[2]
    assert "1.00 ×" in lines[2]
    assert "CPU" in lines[3]
    assert "accuracy" in "\n".join(lines)
    assert lines[-1] == str(output)
    assert len(output.read_text().splitlines()) == 13
    assert main.main(["predict", "last", "--json", "--limit", "5", "--from", "last"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["predicted"][0]["samples"] == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "nothing"),
        (["last", "--from", "77"], "no checkpoint '77'"),
        (["last", "--compare", "device=cpu"], "remove these settings"),
        (["last", "batch_sise=3"], "did you mean"),
    ],
)
def test_predict_refuses_invalid_requests(
    run: RunDir, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main.main(["predict", *arguments]) == 2
    assert said in capsys.readouterr().err
