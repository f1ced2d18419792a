"""Trains on several real ranks without a supervisor, and logs what each of them did."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import msgspec
import torch

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events import EpochEnded, Validated
from gputrain.engine.processes.rank_environment import MeetingPoint
from gputrain.engine.training.distributed.process_group import ProcessGroup, SingleProcess
from gputrain.engine.training.loop.torch_step_windows import StepWindows
from gputrain.engine.training.loop.trainer import Trainer
from helpers.training.rank_tools import start_ranks
from helpers.training.training_tools import train

NETWORK = """
from torch import nn

def make(outputs):
    # Without BatchNorm, whose statistics depend on the batch, and without dropout.
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.GroupNorm(2, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(16, outputs),
    )
"""


class Logged(msgspec.Struct):
    """What one rank did."""

    updates: list[list[tuple[list[int], float, int]]] = []
    """Of each update the steps: this rank's images, the loss of all ranks, their number of batches."""
    epochs: list[float] = []
    metrics: list[dict[str, float]] = []
    images: int = 0


def work(rank: int, meeting: MeetingPoint, home: str, config_json: bytes, stop_at: int | None) -> None:
    torch.set_num_threads(1)
    config = msgspec.json.decode(config_json, type=RunConfig)
    ranks = ProcessGroup(meeting, rank, config.devices) if config.devices > 1 else SingleProcess()
    logged, steps, losses = Logged(), list[tuple[list[int], int]](), list[torch.Tensor]()
    step_done, update_done = StepWindows.step_done, StepWindows.update_done

    def log_step(self: StepWindows, loss: torch.Tensor, step: int, batches: int, batch: Any, size: int) -> None:
        losses.append(loss)
        steps.append(([] if batch is None else batch.indices.tolist(), batches))
        step_done(self, loss, step, batches, batch, size)

    def log_update(self: StepWindows, skipped: torch.Tensor | None) -> None:
        # By now the losses are the means over the ranks.
        found = zip(steps, losses, strict=True)
        logged.updates.append([(images, float(loss), batches) for (images, batches), loss in found])
        steps.clear()
        losses.clear()
        update_done(self, skipped)

    StepWindows.step_done, StepWindows.update_done = log_step, log_update  # type: ignore[method-assign, assignment]
    Path(home).mkdir(exist_ok=True)
    result = train(Path(home), config, stop_at=stop_at, trainer=functools.partial(Trainer, ranks=ranks))
    logged.epochs = [event.train_loss for event in result.of(EpochEnded)]
    logged.metrics = [event.metrics for event in result.of(Validated)]
    (Path(home) / f"rank-{rank}.json").write_bytes(msgspec.json.encode(logged))


def run(home: Path, config: RunConfig, stop_at: int | None = None) -> list[Logged]:
    """Train on `config.devices` ranks; what each of them did."""
    codes = start_ranks(config.devices, work, str(home), msgspec.json.encode(config), stop_at)
    assert codes == [0] * config.devices
    texts = [(home / f"rank-{rank}.json").read_bytes() for rank in range(config.devices)]
    return [msgspec.json.decode(text, type=Logged) for text in texts]


def samples(logged: list[Logged]) -> list[list[int]]:
    """The images of each update, sorted."""
    of_updates = zip(*(one.updates for one in logged), strict=True)
    return [sorted(i for update in of_ranks for images, _, _ in update for i in images) for of_ranks in of_updates]


def losses(logged: list[Logged]) -> list[float]:
    """The mean loss of each update."""
    return [sum(x * n for _, x, n in update) / sum(n for _, _, n in update) for update in logged[0].updates]
