"""How fast the parts of a run are on this machine: workers alone, step alone, both, validation.

The parts are those of a real run, built as the trainer builds them. The learning rate is 0: no weight changes.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import statistics
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace

import torch

from gputrain.engine.calibrating import Order, Tell
from gputrain.engine.calibration import Calibration, StepCost
from gputrain.engine.training import data, device, model, peakmemory
from gputrain.engine.training.batches import Batch
from gputrain.engine.training.control import Control
from gputrain.engine.training.device_augment import DeviceBatch, Feed
from gputrain.engine.training.loader import Loader, make_loader
from gputrain.engine.training.reporter import Reporter
from gputrain.engine.training.stepper import Stepper
from gputrain.engine.training.timing import Clock

_SUPPLY, _STEP, _TOGETHER, _VALIDATION = 0.25, 0.15, 0.4, 0.05
"""Shares of the measuring time; a step is measured at two batch sizes."""
_WINDOW = 1.0
"""Seconds of a window, whose rates tell how much the rate varies."""
_WARM_UP = 3
_LEAST = 2
"""Calls that are measured at least, however long they take."""


@dataclass(slots=True)
class Timing:
    """Images that were done in so many seconds, and the rates of windows of them."""

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


class Bench:
    """The parts of one run, built as the trainer builds them."""

    def __init__(
        self, order: Order, reporter: Reporter, control: Control, loaders: contextlib.ExitStack, tell: Tell
    ) -> None:
        config = order.config
        self._tell = tell
        self._order, self._control, self._config, self._loaders = order, control, config, loaders
        self._compute = device.set_up(config, reporter.notice)
        self._data = data.prepare(config, reporter, control)
        self._say("building the model")
        self._network = model.build(config, self._data.task, self._compute)
        self._clock = Clock(self._compute)
        loss = self._data.task.loss
        self._stepper = Stepper(self._network, config, self._compute, self._clock, reporter.notice, loss)
        self._feed = Feed(config, self._compute, train=True, task=self._data.task)
        self._train = self._loader(train=True)
        self._steps_done = 0

    def _loader(self, *, train: bool) -> Loader:
        images = self._data.train if train else self._data.val
        assert images is not None
        pin = self._config.data.pin_memory and self._compute.is_gpu
        return self._loaders.enter_context(closing(make_loader(images, self._config, train=train, pin=pin)))

    def measure(self) -> Calibration:
        """All measurements. Raises BadInput, StopRequested, RuntimeError."""
        began, seconds = time.perf_counter(), self._order.seconds
        supply, decode_rate, file_bytes = self._supply(_SUPPLY * seconds)
        steps = self._steps(_STEP * seconds)
        together = self._together(_TOGETHER * seconds)
        validation = self._validation(_VALIDATION * seconds) if self._data.val is not None else None
        settings, train, val = self._config.data, self._data.train, self._data.val
        return Calibration(
            recipe=self._config.recipe,
            machine=self._order.machine,
            made=time.time(),
            settings=self._order.settings,
            device=self._compute.device.type,
            device_name=self._compute.name,
            usable_cores=self._order.usable_cores,
            batch_size=settings.batch_size,
            num_workers=settings.num_workers,
            prefetch_factor=settings.prefetch_factor,
            train_images=len(train),
            val_images=len(val) if val is not None else 0,
            file_bytes=round(file_bytes * len(train)),
            supply=supply,
            decode_per_core=decode_rate,
            disk_rate=self._order.disk_rate,
            steps=steps,
            together=together.rate,
            spread=together.spread,
            validation=validation,
            seconds=time.perf_counter() - began,
        )

    def _say(self, text: str) -> None:
        self._tell(text)
        self._control.raise_if_stopped()

    def _supply(self, seconds: float) -> tuple[float, float | None, float]:
        """Images per second of the workers alone, those of one core's time, and the mean bytes of a file."""
        self._say("measuring the workers")
        batches = self._endless()
        next(batches)  # the workers have started
        self._train.take_stats()
        timing = self._timed(seconds, lambda: len(next(batches).labels))
        stats = self._train.take_stats()
        batches.close()
        per_core = None
        if stats.samples and stats.busy and stats.cpu_ratio:
            per_core = stats.samples / (stats.busy * stats.workers * stats.seconds * stats.cpu_ratio)
        return timing.rate, per_core, (stats.bytes_read or 0) / stats.samples if stats.samples else 0.0

    def _endless(self) -> Generator[DeviceBatch, None, None]:
        """Training batches on the device, epoch after epoch."""
        for epoch in itertools.count():
            batches = self._feed.batches(self._train.epoch(epoch), self._clock)
            try:
                yield from batches
            finally:
                batches.close()

    def _timed(self, seconds: float, work: Callable[[], int]) -> Timing:
        """How fast `work` goes, which does something and returns with how many images."""
        timing, in_window, calls = Timing(), 0, 0
        began = last = time.perf_counter()
        while calls < _LEAST or timing.seconds < seconds:
            done = work()
            calls, timing.images, in_window = calls + 1, timing.images + done, in_window + done
            now = time.perf_counter()
            if now - last >= _WINDOW or now - began >= seconds or calls == _LEAST:
                self._settle()
                now = time.perf_counter()
                timing.windows.append(in_window / (now - last))
                timing.seconds, in_window, last = now - began, 0, now
                self._control.raise_if_stopped()
        return timing

    def _settle(self) -> None:
        self._clock.collect()
        if self._compute.is_gpu:
            torch.cuda.synchronize(self._compute.device)

    def _steps(self, seconds: float) -> tuple[StepCost, ...]:
        """The step at half the batch and at the whole one."""
        self._say("measuring the step")
        batches = self._endless()
        # The loader writes into its memory again.
        batch = next(batches)
        batch = replace(batch, images=batch.images.clone(memory_format=torch.preserve_format))
        batches.close()
        count = len(batch.labels)
        # A compiled network would be compiled again for another batch, which takes longer than all the rest.
        sizes = [count] if self._config.speed.compile or count < 2 else [count // 2, count]
        return tuple(self._step(_part(batch, size), seconds) for size in sizes)

    def _step(self, batch: DeviceBatch, seconds: float) -> StepCost:
        images = len(batch.labels)
        peakmemory.reset_peak(self._compute)
        began = time.perf_counter()
        for _ in range(_WARM_UP):
            self._do(batch)
            self._settle()
            if time.perf_counter() - began > seconds:
                break
        before = time.process_time()
        timing = self._timed(seconds, lambda: self._do(batch))
        spent = (time.process_time() - before) * images / timing.images
        return StepCost(images, images / timing.rate, spent, peakmemory.peak(self._compute))

    def _do(self, batch: DeviceBatch) -> int:
        """One step of the training loop, without a change of the weights."""
        every = self._config.optim.accumulation_steps
        self._stepper.backward(self._feed.prepare(batch), 1 / every)
        self._steps_done += 1
        if self._steps_done % every == 0:
            self._stepper.update(0.0, self._steps_done // every)
        return len(batch.labels)

    def _together(self, seconds: float) -> Timing:
        self._say("measuring workers and step together")
        batches = self._endless()
        self._do(next(batches))
        self._settle()
        timing = self._timed(seconds, lambda: self._do(next(batches)))
        batches.close()
        return timing

    def _validation(self, seconds: float) -> float:
        """Images per second of the forward pass alone, with the workers at work."""
        self._say("measuring validation")
        feed = Feed(self._config, self._compute, train=False, task=self._data.task)
        batches = itertools.chain.from_iterable(
            feed.batches(epoch, self._clock) for epoch in _again(self._loader(train=False))
        )
        self._network.eval()

        def work() -> int:
            batch = next(batches)
            with self._compute.autocast():
                self._network(feed.prepare(batch).images)
            return len(batch.labels)

        with torch.inference_mode():
            return self._timed(seconds, work).rate


def _again(loader: Loader) -> Generator[Iterator[Batch], None, None]:
    while True:
        yield loader.epoch(0)


def _part(batch: DeviceBatch, size: int) -> DeviceBatch:
    """The first `size` images of a batch."""
    changes = None if batch.changes is None else batch.changes[:size]
    return replace(
        batch,
        images=batch.images[:size],
        labels=batch.labels[:size],
        changes=changes,
        indices=batch.indices[:size],
        copied=None,
    )
