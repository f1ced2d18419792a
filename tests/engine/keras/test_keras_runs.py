"""Keras runs from the command line: supervisor, trainer process, signals, commands, prediction."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.keras.keras_tools import draw_images, keras_config, needs_tensorflow

from gputrain.engine.events import (
    AnyEvent,
    CheckpointSaved,
    ModelReady,
    Outcome,
    Phase,
    PhaseChanged,
    RunEnded,
    Steps,
    Tuned,
    Validated,
)
from gputrain.engine.events.commands import TuneCommand
from gputrain.engine.launching import launch
from gputrain.engine.runs.run_directory import RunDir
from gputrain.tui.cli import main

pytestmark = needs_tensorflow
TIMEOUT = 120.0


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("images"), side=36)


class Watch:
    """Reads a run's events until a condition holds."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.attachment = launch.attach(run)
        self.events: list[AnyEvent] = []

    def until(self, kind: type[Any], wanted: Callable[[Any], bool] = lambda event: True) -> Any:
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            for event in self.attachment.read(0.2):
                self.events.append(event)
                if isinstance(event, kind) and wanted(event):
                    return event
        raise AssertionError(f"no {kind.__name__} in {[type(event).__name__ for event in self.events]}")

    def over(self) -> None:
        """Return once nobody owns the run any more."""
        deadline = time.monotonic() + TIMEOUT
        while self.run.is_live():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def start(images: Path, **changes: Any) -> Watch:
    return Watch(launch.launch(keras_config(images, sample_seconds=0.5, recipe="test", **changes)))


def loaded(pid: int) -> set[str]:
    """Which of torch and TensorFlow a process has loaded."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return {name for name in ("libtorch", "libtensorflow") if name in maps}


def test_a_run_resumes_after_a_signal_and_does_not_load_torch(images: Path) -> None:
    watch = start(images, epochs=400)
    ready = watch.until(ModelReady)
    watch.until(Steps)
    assert loaded(ready.trainer_pid) == {"libtensorflow"}
    status = watch.run.status()
    assert status is not None
    assert loaded(status.pid) == set()
    watch.attachment.send(TuneCommand(changes={"num_workers": 1}))
    assert watch.until(Tuned).verdict == "refused"
    os.kill(ready.trainer_pid, signal.SIGTERM)
    ended = watch.until(RunEnded)
    assert (ended.outcome, ended.preempted) == (Outcome.STOPPED, True)
    assert watch.of(CheckpointSaved)[-1].step == ended.step
    assert Phase.IMPORTING_TENSORFLOW in [event.phase for event in watch.of(PhaseChanged)]
    watch.over()
    assert main.main(["resume", watch.run.id, f"max_steps={ended.step + 3}", "--plain"]) == 0
    status = watch.run.status()
    assert status is not None
    assert status.step == ended.step + 3


def test_a_trainer_whose_supervisor_is_killed_saves_and_ends(images: Path) -> None:
    watch = start(images, epochs=4000)
    ready = watch.until(ModelReady)
    watch.until(Steps)
    status = watch.run.status()
    assert status is not None
    os.kill(status.pid, signal.SIGKILL)
    deadline = time.monotonic() + TIMEOUT
    while Path(f"/proc/{ready.trainer_pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not Path(f"/proc/{ready.trainer_pid}").exists()
    assert list(watch.run.checkpoints.glob("step-*.npz"))


def test_xla_training_and_prediction(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watch = start(images, epochs=8, compile=True, width=4, lr=0.05, val_batch_size=5)
    ended = watch.until(RunEnded)
    assert ended.outcome is Outcome.FINISHED, ended
    assert watch.of(ModelReady)[0].compiled
    output = tmp_path / "predictions.csv"
    assert main.main(["predict", watch.run.id, "--from", "last", "--json", "--output", str(output)]) == 0
    (found,) = json.loads(capsys.readouterr().out)["predicted"]
    assert found["samples"] == 18
    assert found["samples_per_second"] > 0
    assert found["peak_bytes"] > 100e6
    last = watch.of(Validated)[-1]
    assert found["metrics"]["accuracy"] == last.metrics["accuracy"]
    assert found["metrics"]["loss"] == pytest.approx(last.metrics["loss"], rel=1e-4)
    rows = list(csv.DictReader(output.read_text().splitlines()))
    hits = sum(row["sample"].startswith(row["class"] + "/") for row in rows)
    assert hits / len(rows) == last.metrics["accuracy"]
    assert main.main(["predict", watch.run.id, "--limit", "4", "--images", str(images / "val" / "down")]) == 0
    assert ": 4 samples" in capsys.readouterr().out


def test_commands_for_pytorch_only_are_refused(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watch = start(images, epochs=1, max_steps=1)
    watch.until(RunEnded)
    assert main.main(["export", watch.run.id, "net.onnx"]) == 2
    assert "ONNX export needs engine=torch" in capsys.readouterr().err


def test_the_keras_package_imports_no_torch() -> None:
    rooms = ("trainer", "inference.prediction", "inference.predict_child")
    code = "; ".join([*(f"import gputrain.engine.keras.{room}" for room in rooms), "import sys"])
    code += "; print([name for name in ('torch', 'torchvision', 'tensorflow', 'keras') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['tensorflow', 'keras']"


def test_the_tensorboard_logger_does_not_load_tensorflow(images: Path, tmp_path: Path) -> None:
    """TensorBoard itself uses TensorFlow if it is installed."""
    watch = start(images, epochs=1, max_steps=1)
    watch.until(RunEnded)
    watch.over()
    arguments = [str(watch.run.directory), "tensorboard", str(tmp_path)]
    code = f"import sys; from gputrain.engine.loggers.__main__ import main; main(*{arguments!r}); "
    code += "found = [name for name in ('tensorboard', 'tensorflow', 'torch') if name in sys.modules]; "
    code += "print(found, file=sys.__stdout__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['tensorboard']"
    assert list(tmp_path.glob("events.out.tfevents*"))
