"""Several ranks under a real supervisor: one of them is killed, and the run resumes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from fakes.images import dark_and_light

from gputrain.engine.configuration import settings
from gputrain.engine.events import AnyEvent, CheckpointSaved, ModelReady, Notice, Outcome, RunEnded
from gputrain.engine.events.commands import StopCommand
from gputrain.engine.launching import launch
from gputrain.engine.runs import event_log

TIMEOUT = 150.0


def test_a_killed_rank_is_reported_and_the_run_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    images = dark_and_light(tmp_path / "images", 16)
    values = {"device": "cpu", "dataset": "imagefolder", "data_dir": str(images), "image_size": 32, "val_resize": 36}
    values |= {"batch_size": 4, "num_workers": 1, "width": 4, "precision": "fp32", "epochs": 100_000, "ranks": 2}
    run = launch.launch(settings.build(values | {"checkpoint_steps": 4, "auto_resume": True}))
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
        again = until(lambda event: isinstance(event, ModelReady))
        assert isinstance(again, ModelReady)
        assert again.trainer_pid != ready.trainer_pid
        assert again.start_step >= 4
        attachment.send(StopCommand(checkpoint=True, sender="a test"))
        ended = until(lambda event: isinstance(event, RunEnded))
    finally:
        attachment.close()
        status = run.status()
        if status is not None and not status.state.over:
            os.kill(status.pid, signal.SIGKILL)
    assert isinstance(ended, RunEnded)
    assert ended.outcome is Outcome.STOPPED
    told = [event.text for event in event_log.read(run.events) if isinstance(event, Notice) and event.level == "error"]
    assert [text.partition(";")[0] for text in told] == ["rank 1 was killed by SIGKILL from outside"]
    _, alive = psutil.wait_procs([trainer, *others], timeout=30)
    assert not alive
