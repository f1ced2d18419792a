"""Builds the parts of a run as the trainer does, to measure them alone or together.

The learning rate is 0: no weight changes.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import statistics
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field

import msgspec
import torch

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.processes.child_job import ProgressCallback
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.training.loader.make_loader import AnyLoader, make_loader
from gputrain.engine.training.models import create_model
from gputrain.engine.training.optim.train_step import TrainStep
from gputrain.engine.training.readers import reader_registry
from gputrain.engine.training.runtime import device
from gputrain.engine.training.runtime.step_timing import StepClock
from gputrain.engine.training.transforms.device_transforms import DeviceBatch, DevicePrefetcher

_WINDOW = 1.0
"""Seconds of a window; the spread of the rate is taken from the windows."""
_LEAST = 2
"""Minimum number of measured calls."""


@dataclass(slots=True)
class Timing:
    """Images, seconds, and the rate of each window."""

    images: int = 0
    seconds: float = 0.0
    windows: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds

    @property
    def spread(self) -> float:
        """Twice the standard error of the windows' mean; 0 for a single one."""
        if len(self.windows) < 2:
            return 0.0
        return 2 * statistics.stdev(self.windows) / math.sqrt(len(self.windows))


class RunParts:
    """Images, loader, network and step of a configuration."""

    def __init__(
        self,
        config: RunConfig,
        reporter: EventReporter,
        control: TrainerControl,
        loaders: contextlib.ExitStack,
        tell: ProgressCallback,
    ) -> None:
        """Raises BadInput, StopRequested. `loaders` closes them."""
        # Measures one device.
        self.config = config = msgspec.structs.replace(config, devices=1)
        self._tell, self._control, self._loaders = tell, control, loaders
        self.compute = device.set_up(config, reporter.notice)
        self.data = reader_registry.open_dataset(config, reporter, control)
        self.progress("building the model")
        self.network = create_model.build(config, self.data.task, self.compute)
        self.clock = StepClock(self.compute)
        loss = self.data.task.loss
        self._stepper = TrainStep(self.network, config, self.compute, self.clock, reporter.notice, loss)
        self.feed = DevicePrefetcher(config, self.compute, train=True, task=self.data.task)
        self.train_loader = self.loader(train=True)
        self._steps_done = 0

    def loader(self, *, train: bool) -> AnyLoader:
        """A loader of the training or validation images."""
        images = self.data.train if train else self.data.val
        assert images is not None
        pin = self.config.data.pin_memory and self.compute.is_gpu
        return self._loaders.enter_context(closing(make_loader(images, self.config, train=train, pin=pin)))

    def progress(self, text: str) -> None:
        """Report progress. Raises StopRequested."""
        self._tell(text)
        self._control.raise_if_stopped()

    def endless(self, start: int = 0) -> Generator[DeviceBatch, None, None]:
        """Training batches on the device, epoch after epoch from `start` on."""
        for epoch in itertools.count(start):
            batches = self.feed.batches(self.train_loader.epoch(epoch), self.clock)
            try:
                yield from batches
            finally:
                batches.close()

    def do(self, batch: DeviceBatch) -> int:
        """One training step with learning rate 0; returns the number of images. Raises StopRequested."""
        self._control.raise_if_stopped()
        every = self.config.optim.accumulation_steps
        with self.clock.computing("prepare"):
            prepared = self.feed.prepare(batch)
        self._stepper.backward(prepared, 1 / every)
        self._steps_done += 1
        if self._steps_done % every == 0:
            self._stepper.update(0.0, self._steps_done // every)
        return len(batch.labels)

    def timed(self, work: Callable[[], int], *, seconds: float = 0.0, calls: int = _LEAST) -> Timing:
        """Time `work`, which returns its number of images, for at least `seconds` and `calls`."""
        timing, in_window, done = Timing(), 0, 0
        began = last = time.perf_counter()
        while done < calls or timing.seconds < seconds:
            images = work()
            done, timing.images, in_window = done + 1, timing.images + images, in_window + images
            now = time.perf_counter()
            if now - last >= _WINDOW or (done >= calls and now - began >= seconds):
                self.settle()
                now = time.perf_counter()
                timing.windows.append(in_window / (now - last))
                timing.seconds, in_window, last = now - began, 0, now
                self._control.raise_if_stopped()
        return timing

    def settle(self) -> None:
        """Wait for the device."""
        if self.compute.is_gpu:
            torch.cuda.synchronize(self.compute.device)
        self.clock.collect()
