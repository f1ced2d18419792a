"""``gputrain-tui calibrate``: refuses a plan that cannot start; the next plan uses a saved measurement."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from fakes.calibrations import MADE
from fakes.images import dark_and_light

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.configuration.settings import flatten
from gputrain.engine.estimates import calibration_store
from gputrain.engine.estimates.calibration import Calibration, signature
from gputrain.engine.hardware.machine import Machine
from gputrain.tui.cli import main
from gputrain.tui.commands.launch import calibrate as calibrate_command

COMMAND = [sys.executable, "-m", "gputrain.tui.cli"]
SMALL = ["image_size=32", "val_resize=32", "batch_size=4", "width=4", "model=simple_cnn", "precision=fp32"]


@pytest.mark.long
@pytest.mark.slow
def test_a_measurement_is_in_the_next_plan_and_in_the_runs_summary(tmp_path: Path) -> None:
    data = dark_and_light(tmp_path, 6)
    arguments = ["--data", str(data), *SMALL]
    done = subprocess.run([*COMMAND, "calibrate", "--seconds", "5", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "calibrate: measuring the step" in done.stderr
    assert "img/s, limited by" in done.stdout
    run = subprocess.run([*COMMAND, "train", "--json", "epochs=1", *arguments], capture_output=True, text=True)
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    predicted = lines[0]["forecast"]
    assert 0 < predicted["low"] < predicted["high"]
    assert lines[-1]["forecast"] == predicted
    assert f"{predicted['low']:.0f} to {predicted['high']:.0f} img/s" in done.stdout


def test_train_measures_first_when_asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []

    def calibrate(config: RunConfig, machine: Machine, *, seconds: float, tell: object) -> Calibration:
        asked.append(config.recipe)
        return msgspec.structs.replace(
            MADE, machine=calibration_store.machine_key(machine), settings=signature(flatten(config))
        )

    monkeypatch.setattr(calibrate_command, "calibrate", calibrate)
    assert main.main(["train", "--dry-run", "--calibrate", "--recipe", "demo"]) == 0
    assert asked == ["demo"]
    assert "img/s, limited by" in capsys.readouterr().out
    assert main.main(["train", "--dry-run", "--calibrate", "--recipe", "custom"]) == 2
    assert asked == ["demo"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "resnet50-imagefolder"], "data_dir: the folder with the images is missing"),
        (["device=cuda"], "device: cuda needs a GPU"),
        (["--recipe", "demos"], "did you mean 'demo'"),
    ],
)
def test_what_cannot_run_is_not_measured(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main.main(["calibrate", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["2", "1e9", "nan", "soon"])
def test_the_time_has_bounds(capsys: pytest.CaptureFixture[str], seconds: str) -> None:
    with pytest.raises(SystemExit) as error:
        main.main(["calibrate", "--seconds", seconds])
    assert error.value.code == 2
    assert "must be a number of seconds from 5 to 600" in capsys.readouterr().err
