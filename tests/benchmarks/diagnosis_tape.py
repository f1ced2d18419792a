"""Shared by both kinds of traces: recording of events, configuration, faulty files, hardware samples."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import numpy as np
from diagnosis_setup import FaultySource, Setup

from gputrain.engine import events
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.events import AnyEvent, GpuSample
from gputrain.engine.monitor.sampler import Sampler
from gputrain.engine.training.loader import make_loader

SAMPLE_SECONDS = 0.5
BASE: dict[str, Any] = {
    "dataset": "imagefolder",
    "val_split": "",
    "image_size": 64,
    "val_resize": 64,
    "augment": "flip",
    "batch_size": 16,
    "num_workers": 2,
    "prefetch_factor": 4,
    "loader": "threads",
    "model": "simple_cnn",
    "width": 16,
    "precision": "fp32",
    "checkpoint_epochs": 0,
    "epochs": 100_000,
    "lr": 0.001,
}


@dataclass
class Tape:
    """The events of a trace, timed as a supervisor times them."""

    events: list[AnyEvent] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, event: AnyEvent) -> None:
        """Record an event that happened now."""
        with self._lock:
            self.events.append(events.stamp(event, len(self.events) + 1, time.time(), time.monotonic()))


def config_of(setup: Setup) -> RunConfig:
    """The run's configuration."""
    device = {} if setup.step else {"device": setup.device}
    return settings.build({**BASE, "data_dir": setup.folder, "seed": setup.seed, **device, **setup.settings})


def faulty(setup: Setup, files: int) -> Any:
    """Replace the loader's files by the faulty ones."""
    return mock.patch.object(make_loader, "source_of", lambda found: FaultySource(found, setup.sample, files))


def repeated(found: ImageSet, count: int) -> ImageSet:
    """`count` images: those of `found`, repeated, for an epoch of the wanted length."""
    times = -(-count // len(found))
    ends = np.concatenate([found.ends + time * len(found.names) for time in range(times)])
    return replace(
        found,
        names=found.names * times,
        ends=ends[:count],
        labels=np.tile(found.labels, times)[:count].astype(np.int64),
    )


def watch(tape: Tape, setup: Setup, busy: Callable[[], float | None], stop: threading.Event) -> None:
    """Sample the machine until `stop`; `busy` returns the simulated device's utilization since the last call."""
    pids = (multiprocessing.current_process().pid or 0,)
    sampler = Sampler(run_pids=lambda: pids, data_path=Path(setup.folder))
    try:
        sampler.sample()
        while not stop.wait(SAMPLE_SECONDS):
            sample, used = sampler.sample(), busy()
            if used is not None:
                gpu = GpuSample(index=0, cuda_index=0, name="simulated", utilization=100 * used)
                sample = msgspec.structs.replace(sample, gpus=(gpu,))
            tape.put(sample)
    finally:
        sampler.close()
