"""Batches on a device, prepared as the training step prepares them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gputrain.engine.configuration import settings
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.training.models import create_model
from gputrain.engine.training.optim.train_step import Stepper
from gputrain.engine.training.runtime.batch import Batch
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.runtime.step_timing import Clock
from gputrain.engine.training.tasks.classification import Classification
from gputrain.engine.training.transforms.device_transforms import Feed, Prepared

CPU = Compute(torch.device("cpu"), "a CPU", "fp32")


def config(**changes: Any) -> RunConfig:
    return settings.build({"device": "cpu", "batch_size": 4, "image_size": 32, "width": 8} | changes)


def prepared(run: RunConfig, compute: Compute = CPU) -> Prepared:
    generator = torch.Generator().manual_seed(3)
    size = (run.data.batch_size, 3, run.data.image_size, run.data.image_size)
    pictures = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    labels = torch.arange(run.data.batch_size) % 3
    batch = Batch(pictures, labels, torch.arange(run.data.batch_size), 0, 0)
    feed = Feed(run, compute, train=True)
    return feed.prepare(next(feed.batches(iter([batch]), Clock(compute))))


def stepper(run: RunConfig, compute: Compute = CPU) -> Stepper:
    network = create_model.build(run, Classification(3), compute)
    return Stepper(
        network, run, compute, Clock(compute), lambda _level, text: pytest.fail(text), Classification(3).loss
    )
