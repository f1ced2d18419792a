"""Batches on a device, prepared as in the training step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gputrain.engine.configuration import settings
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.training.models import create_model
from gputrain.engine.training.optim.train_step import TrainStep
from gputrain.engine.training.runtime.batch import Batch
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.runtime.step_timing import StepClock
from gputrain.engine.training.tasks.classification import Classification
from gputrain.engine.training.transforms.device_transforms import DevicePrefetcher, PreparedBatch

CPU = Compute(torch.device("cpu"), "a CPU", "fp32")


def config(**changes: Any) -> RunConfig:
    return settings.build({"device": "cpu", "batch_size": 4, "image_size": 32, "width": 8} | changes)


def prepared(run: RunConfig, compute: Compute = CPU) -> PreparedBatch:
    generator = torch.Generator().manual_seed(3)
    size = (run.data.batch_size, 3, run.data.image_size, run.data.image_size)
    pictures = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    labels = torch.arange(run.data.batch_size) % 3
    batch = Batch(pictures, labels, torch.arange(run.data.batch_size), 0, 0)
    feed = DevicePrefetcher(run, compute, train=True)
    return feed.prepare(next(feed.batches(iter([batch]), StepClock(compute))))


def stepper(run: RunConfig, compute: Compute = CPU) -> TrainStep:
    network = create_model.build(run, Classification(3), compute)
    return TrainStep(
        network, run, compute, StepClock(compute), lambda _level, text: pytest.fail(text), Classification(3).loss
    )
