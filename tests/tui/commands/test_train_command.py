"""``gputrain-tui train`` without a terminal: real runs, their lines and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from fakes.images import dark_and_light

from gputrain.engine.runs import event_log, run_directory
from gputrain.tui.state.run_store import RunStore
from gputrain.tui.state.run_summary import summary

COMMAND = [sys.executable, "-m", "gputrain.tui.cli"]
SMALL = ["image_size=32", "val_resize=32", "batch_size=4", "width=4", "model=simple_cnn", "precision=fp32"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dark_and_light(tmp_path_factory.mktemp("images"), 6)


def test_json_ends_with_the_summary_that_the_record_gives(images: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "train", "--data", str(images), "--json", "epochs=2", *SMALL], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0]["type"] == "run_started"
    assert lines[-2]["type"] == "run_ended"
    output = lines[-1]
    assert output["type"] == "summary"
    assert (output["outcome"], output["step"], output["epochs_done"]) == ("finished", 6, 2)
    store = RunStore()
    store.apply_all(event_log.read(run_directory.find("last").events))
    replayed = msgspec.to_builtins(summary(store.snapshot()))
    assert {key: output[key] for key in replayed} == json.loads(msgspec.json.encode(replayed))


@pytest.mark.long
def test_its_configuration_launches_the_same_run_again(images: Path) -> None:
    arguments = [*COMMAND, "train", "--data", str(images), "--plain", "epochs=1", *SMALL]
    first = subprocess.run(arguments, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    config = run_directory.find("last").config
    again = subprocess.run([*COMMAND, "train", "--plain", "--config", str(config)], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    one, two = (
        json.loads(info.run.events.read_text().splitlines()[0])["settings"] for info in run_directory.list_runs()
    )
    assert one == two
    assert "finished: all steps are done" in again.stdout


def test_data_that_only_the_trainer_can_judge(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = tmp_path / "train" / name
        folder.mkdir(parents=True)
        for number in range(4):
            (folder / f"{number}.jpg").write_text("no picture")
    done = subprocess.run(
        [*COMMAND, "train", "--data", str(tmp_path), "--plain", "val_split=", *SMALL], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "can be read" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_an_interrupt_stops_after_a_checkpoint(images: Path) -> None:
    child = subprocess.Popen(
        [*COMMAND, "train", "--data", str(images), "--json", "epochs=10000", *SMALL],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    for line in child.stdout:
        if json.loads(line)["type"] == "steps":
            break
    os.kill(child.pid, signal.SIGINT)
    message, errors = child.communicate()
    assert child.returncode == 3
    assert "stopping after a checkpoint" in errors
    assert json.loads(message.splitlines()[-1])["outcome"] == "stopped"
    assert list(run_directory.find("last").checkpoints.glob("step-*.pt"))


def test_force_starts_what_an_estimate_refuses_and_says_so(images: Path) -> None:
    # The estimate is for whole batches; the loader makes none that is larger than the data set.
    large = ["batch_size=65536", "prefetch_factor=256", "num_workers=2", "max_steps=1"]
    arguments = [*COMMAND, "train", "--data", str(images), "--plain", *SMALL, *large]
    refused = subprocess.run(arguments, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "--force starts anyway" in refused.stderr
    forced = subprocess.run([*arguments, "--force"], capture_output=True, text=True)
    assert forced.returncode == 0, forced.stderr
    assert "plan: RAM" in forced.stderr
