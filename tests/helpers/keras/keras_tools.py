"""A trainer of Keras driven without a supervisor: real JPEG files, a real queue, a real pipe, real TensorFlow."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gputrain.engine.configuration.engine_choice import KERAS, why_missing
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.events.commands import AnyCommand, encode_command
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
from helpers.training.training_tools import Result, collecting, draw_images, small_config

__all__ = ["Result", "draw_images"]


needs_tensorflow = pytest.mark.skipif(
    bool(why_missing(KERAS)), reason="needs TensorFlow: an environment with pip install -e '.[dev-keras]'"
)


@pytest.fixture(autouse=True, scope="module")
def own_environment() -> Iterator[None]:
    """What is set for TensorFlow is taken back: torch reads the first of them, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        patch.setenv("KERAS_BACKEND", "tensorflow")
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
        yield


def keras_config(images: Path, **changes: Any) -> RunConfig:
    """A run of seconds."""
    return small_config(images, **{"engine": "keras", "momentum": 0.9} | changes)


class _StopsAt(TrainerControl):
    """Is asked to stop after a checkpoint once the trainer has done some step."""

    trainer: Any
    stop_at: int | None = None

    def poll(self) -> None:
        super().poll()
        if self.stop_at is not None and self.trainer.step >= self.stop_at:
            self.stop, self.reason = "checkpoint", "stopped on request"


def train(
    directory: Path, config: RunConfig, commands: tuple[AnyCommand, ...] = (), stop_at: int | None = None
) -> Result:
    """Run a trainer to its end in this process, or until it has done step `stop_at`.

    `commands` lie in its inbox from the start.
    """
    from gputrain.engine.keras.trainer import KerasTrainer

    context = multiprocessing.get_context("spawn")
    outbox = context.Queue()
    theirs, ours = context.Pipe(duplex=False)
    for command in commands:
        ours.send_bytes(encode_command(command))
    with collecting(outbox) as found:
        reporter = EventReporter(outbox)
        control = _StopsAt(theirs, reporter)
        control.trainer = KerasTrainer(directory, config, reporter, control)
        control.stop_at = stop_at
        ended = control.trainer.train()
    ours.close()
    theirs.close()
    return Result(ended, found)


def state_of(directory: Path) -> dict[str, Any]:
    """What the newest checkpoint of a run holds."""
    from gputrain.engine.keras import checkpoint

    return checkpoint.load(str(directory), pytest.fail)


def same_arrays(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether network and update rule of two states are the same to the bit."""
    return all(
        first[group].keys() == second[group].keys()
        and all((first[group][name] == second[group][name]).all() for name in first[group])
        for group in ("model", "optimizer")
    )
