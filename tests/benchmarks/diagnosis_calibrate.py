"""What a sample and a new crew cost on this machine: measured before the faults are set up."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from diagnosis_faults import Costs
from diagnosis_setup import Setup
from diagnosis_tape import config_of

from gputrain.engine.datasets import image_set
from gputrain.engine.training.loader import make_loader

_ROUNDS, _BATCHES = 5, 6
"""Not more than an epoch has."""


def calibrate(folder: str, count: int) -> Costs:
    """The costs of a sample and of new worker processes."""
    found = image_set.scan(folder, "train")
    sample = _sample_seconds(folder)
    sizes = [path.stat().st_size for path in Path(folder).glob("train/*/*.jpg")]
    assert len(found) == count
    cores = len(os.sched_getaffinity(0))
    return Costs(sample, _restart_seconds(folder, cores), statistics.mean(sizes), count, cores)


def _sample_seconds(folder: str) -> float:
    """CPU-seconds of a sample in a worker."""
    config = config_of(Setup(folder, 0, {"num_workers": 1}, step=1.0))
    source = make_loader.make_loader(image_set.scan(folder, "train"), config, train=True, pin=False)
    batches = source.epoch(0)
    taken = []
    for _ in range(_ROUNDS):
        for _ in range(_BATCHES):
            next(batches)
        stats = source.take_stats()
        assert stats.busy is not None
        assert stats.cpu_ratio is not None
        taken.append(stats.busy * stats.seconds * stats.cpu_ratio / stats.samples)
    source.close()
    return min(taken)


def _restart_seconds(folder: str, workers: int) -> float:
    """Seconds until the first batch of worker processes that are started anew; the second start of two."""
    settings = {"num_workers": workers, "loader": "processes", "persistent_workers": False}
    config = config_of(Setup(folder, 0, settings, step=1.0))
    source = make_loader.make_loader(image_set.scan(folder, "train"), config, train=True, pin=False)
    taken = []
    for epoch in range(3):
        began = time.perf_counter()
        next(source.epoch(epoch))
        taken.append(time.perf_counter() - began)
    source.close()
    return min(taken[1:])
