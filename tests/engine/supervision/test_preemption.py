"""Preemption signals to all processes of a run, and a trainer that is restarted after a crash."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from fakes.images import dark_and_light

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.configuration import settings
from gputrain.engine.events import AnyEvent, CheckpointSaved, ModelReady, Notice, Outcome, RunEnded
from gputrain.engine.events.commands import StopCommand
from gputrain.engine.launching import launch
from gputrain.engine.launching.attachment import Attachment
from gputrain.engine.runs import event_log, run_directory

TIMEOUT = 90.0
SMALL: dict[str, Any] = {
    "device": "cpu",
    "dataset": "imagefolder",
    "image_size": 32,
    "val_resize": 32,
    "val_split": "",
    "batch_size": 4,
    "width": 4,
    "precision": "fp32",
    "epochs": 100_000,
    "checkpoint_epochs": 0,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dark_and_light(tmp_path_factory.mktemp("images"), 8)


def test_a_signal_to_every_process_of_a_job_leaves_a_checkpoint_and_exit_code_75(images: Path) -> None:
    """As Slurm's ``--signal`` does; data workers are processes, and their server is one too."""
    overrides = [f"{name}={value}" for name, value in (SMALL | {"num_workers": 2, "loader": "processes"}).items()]
    command = [sys.executable, "-m", "gputrain.tui.cli", "train", "--data", str(images), "--json", *overrides]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if json.loads(line)["type"] == "steps":
            break
    run = run_directory.find("last")
    status = run.status()
    assert status is not None
    supervisor = psutil.Process(status.pid)
    everyone = [psutil.Process(child.pid), supervisor, *supervisor.children(recursive=True)]
    assert len(everyone) >= 6
    for process in everyone:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGUSR1)
    said, errors = child.communicate()
    assert child.returncode == 75, said[-2000:] + errors
    (*_, end) = event_log.read(run.events)
    assert isinstance(end, RunEnded)
    assert (end.outcome, end.preempted) == (Outcome.STOPPED, True)
    assert "SIGUSR1" in end.reason
    assert checkpoint_index.find(run.checkpoints, "last").step == end.step
    assert checkpoint_index.matches_checksum(run.checkpoints, checkpoint_index.find(run.checkpoints, "last"))


def until(attachment: Attachment, found: list[AnyEvent], wanted: Callable[[AnyEvent], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not any(map(wanted, found)):
        assert time.monotonic() < deadline, found[-3:]
        found.extend(attachment.read())


def test_a_killed_trainer_is_restarted_from_its_newest_checkpoint(images: Path) -> None:
    config = settings.build(
        SMALL | {"data_dir": str(images), "num_workers": 0, "auto_resume": True, "checkpoint_steps": 1}
    )
    run = launch.launch(config)
    attachment = launch.attach(run)
    found: list[AnyEvent] = []
    try:
        until(attachment, found, lambda event: isinstance(event, CheckpointSaved) and event.step >= 2)
        (first,) = [event for event in found if isinstance(event, ModelReady)]
        os.kill(first.trainer_pid, signal.SIGKILL)
        until(attachment, found, lambda event: isinstance(event, ModelReady) and event.start_step > 0)
        attachment.send(StopCommand(sender="test"))
        until(attachment, found, lambda event: isinstance(event, RunEnded))
    finally:
        status = run.status()
        if status is not None and not status.state.over:
            os.kill(status.pid, signal.SIGKILL)
        attachment.close()
    _, second = [event for event in found if isinstance(event, ModelReady)]
    saved = [event.step for event in found[: found.index(second)] if isinstance(event, CheckpointSaved)]
    assert second.start_step in (max(saved), max(saved) + 1)
    assert any("auto_resume: trying again in 2 s (try 1 of 6)" in e.text for e in found if isinstance(e, Notice))
    assert isinstance(found[-1], RunEnded)
    assert found[-1].outcome is Outcome.STOPPED
    assert not found[-1].preempted
