"""A real run of two ranks one of which is killed: how long until it trains again."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes.images import dark_and_light

from gputrain.engine.configuration import settings
from gputrain.engine.events import AnyEvent, CheckpointSaved, ModelReady, Steps
from gputrain.engine.launching import launch
from gputrain.engine.runs import event_log
from gputrain.engine.runs.run_directory import RunDir

T = TypeVar("T", bound=AnyEvent)
_PATIENCE = 180.0


def seconds_to_training(folder: Path) -> float:
    """Seconds from ``kill -9`` of rank 1 to the steps after the restart. Raises RuntimeError if they do not come."""
    images = dark_and_light(folder / "images", 16)
    values = {"device": "cpu", "dataset": "imagefolder", "data_dir": str(images), "image_size": 32, "val_split": ""}
    values |= {"batch_size": 4, "num_workers": 0, "width": 4, "precision": "fp32", "epochs": 100_000, "devices": 2}
    run = launch.launch(settings.build(values | {"checkpoint_steps": 4}))
    try:
        ready = _until(run, ModelReady, lambda event: True)
        _until(run, CheckpointSaved, lambda event: True)
        trainer = psutil.Process(ready.trainer_pid)
        (other,) = [child for child in trainer.children() if "spawn_main" in " ".join(child.cmdline())]
        other.kill()
        killed = time.monotonic()
        again = _until(run, ModelReady, lambda event: event.trainer_pid != ready.trainer_pid)
        _until(run, Steps, lambda event: event.step > again.start_step, after=again)
        return time.monotonic() - killed
    finally:
        _end(run)


def _until(run: RunDir, kind: type[T], wanted: Callable[[T], bool], after: AnyEvent | None = None) -> T:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        seen = list(event_log.read(run.events))
        if after is not None:
            seen = seen[seen.index(after) :] if after in seen else []
        for event in seen:
            if isinstance(event, kind) and wanted(event):
                return event
        time.sleep(0.1)
    raise RuntimeError(f"no {kind.__name__} within {_PATIENCE:.0f} s")


def _end(run: RunDir) -> None:
    status = run.status()
    if status is None or not psutil.pid_exists(status.pid):
        return
    supervisor = psutil.Process(status.pid)
    family = [supervisor, *supervisor.children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=30)
