"""Several ranks under a real supervisor: one of them is killed, and the run resumes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from fakes.images import dark_and_light
from helpers.training.hanging_network import HANGING

from gputrain.engine.configuration import settings
from gputrain.engine.events import AnyEvent, CheckpointSaved, ModelReady, Notice, Outcome, RunEnded, StacksTaken, Steps
from gputrain.engine.events.commands import StacksCommand, StopCommand
from gputrain.engine.launching import launch
from gputrain.engine.runs import event_log
from gputrain.engine.runs.run_directory import RunDir

TIMEOUT = 150.0


def _kill_all(run: RunDir) -> None:
    """End the supervisor and its trainers: ranks that hang do not notice that it has gone."""
    status = run.status()
    if status is None or status.state.over or not psutil.pid_exists(status.pid):
        return
    supervisor = psutil.Process(status.pid)
    for process in (supervisor, *supervisor.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.mark.long
def test_a_killed_rank_is_reported_and_the_run_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    images = dark_and_light(tmp_path / "images", 16)
    values = {"device": "cpu", "dataset": "imagefolder", "data_dir": str(images), "image_size": 32, "val_resize": 36}
    values |= {"batch_size": 4, "num_workers": 1, "width": 4, "precision": "fp32", "epochs": 100_000, "ranks": 2}
    run = launch.launch(settings.build(values | {"checkpoint_steps": 4}))
    attachment, seen = launch.attach(run), list[AnyEvent]()

    def until(wanted: Callable[[AnyEvent], bool]) -> AnyEvent:
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            new = attachment.read()
            seen.extend(new)
            if found := next((event for event in new if wanted(event)), None):
                return found
        pytest.fail(f"it did not happen; the newest events: {seen[-5:]}")

    try:
        ready = until(lambda event: isinstance(event, ModelReady))
        assert isinstance(ready, ModelReady)
        assert ready.ranks == 2
        until(lambda event: isinstance(event, CheckpointSaved))
        trainer = psutil.Process(ready.trainer_pid)
        others = [child for child in trainer.children() if "spawn_main" in " ".join(child.cmdline())]
        assert len(others) == 1
        others[0].kill()
        killed = time.monotonic()
        again = until(lambda event: isinstance(event, ModelReady))
        assert isinstance(again, ModelReady)
        assert again.trainer_pid != ready.trainer_pid
        assert again.start_step >= 4
        until(lambda event: isinstance(event, Steps))
        print(f"trains again {time.monotonic() - killed:.1f} s after a rank was killed")
        attachment.send(StopCommand(checkpoint=True, sender="a test"))
        ended = until(lambda event: isinstance(event, RunEnded))
    finally:
        attachment.close()
        _kill_all(run)
    assert isinstance(ended, RunEnded)
    assert ended.outcome is Outcome.STOPPED
    told = [event.text for event in event_log.read(run.events) if isinstance(event, Notice) and event.level == "error"]
    assert told == ["rank 1 was killed by SIGKILL from outside; max_restarts: trying again (try 1 of 3)"]
    _, alive = psutil.wait_procs([trainer, *others], timeout=30)
    assert not alive


def _stacks(run: RunDir) -> StacksTaken:
    """The stacks of all ranks, also of those that hang."""
    attachment = launch.attach(run)
    try:
        attachment.send(StacksCommand(id="one"))
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            for event in attachment.read():
                if isinstance(event, StacksTaken):
                    return event
        pytest.fail("no stacks came")
    finally:
        attachment.close()


@pytest.mark.long
def test_the_rank_that_keeps_the_others_waiting_is_named_with_its_line(tmp_path: Path) -> None:
    images = dark_and_light(tmp_path / "images", 16)
    (tmp_path / "hanging.py").write_text(HANGING)
    values = {"device": "cpu", "dataset": "imagefolder", "data_dir": str(images), "image_size": 32, "val_resize": 36}
    values |= {"batch_size": 4, "num_workers": 0, "precision": "fp32", "epochs": 100_000, "devices": 2, "val_split": ""}
    values |= {"model": "hanging:make", "code_dir": str(tmp_path), "hang_seconds": 8.0}
    run = launch.launch(settings.build(values))
    try:
        deadline = time.monotonic() + TIMEOUT
        told: list[str] = []
        while not told and time.monotonic() < deadline:
            time.sleep(0.5)
            found = event_log.read(run.events)
            told = [event.text for event in found if isinstance(event, Notice) and "has not entered" in event.text]
        taken = _stacks(run)
    finally:
        _kill_all(run)
    assert told, [event.text for event in event_log.read(run.events) if isinstance(event, Notice)]
    assert "rank 1 has not entered the exchange of step " in told[0]
    assert f"({tmp_path}/hanging.py:14 in forward); 1 other waits for it since " in told[0]
    at = {one.role: one.at for one in taken.processes}
    assert set(at) == {"rank 0", "rank 1"}
    assert at["rank 1"] == f"{tmp_path}/hanging.py:14 in forward"
    assert "hanging.py" not in at["rank 0"]
