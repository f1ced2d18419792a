"""A trained network tried on images: predictions, metrics where there are labels, pace and memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.jobs.predict_job import Predicted, PredictOrder
from gputrain.engine.processes.child_job import Tell
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.training.inference import input_images
from gputrain.engine.training.inference.prediction_rows import Predictions, output_reading
from gputrain.engine.training.loader.make_loader import make_loader
from gputrain.engine.training.runtime import peak_memory
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.runtime.step_timing import StepClock
from gputrain.engine.training.tasks.task import Task
from gputrain.engine.training.transforms.device_transforms import DeviceBatch, DevicePrefetcher

_TELL_SECONDS = 1.0


class PredictionRun:
    """One look at each sample of a set, in order."""

    def __init__(self, order: PredictOrder, compute: Compute, task: Task, images: ImageSet, *, labelled: bool) -> None:
        self._order, self._compute, self._task, self._images = order, compute, task, images
        self._scores = task.scores() if labelled else None
        every = len(images) // images.group
        self._samples = min(every, order.limit) if order.limit else every
        self._done = self._bad = self._timed = 0
        self._seconds = 0.0

    def run(self, network: nn.Module, control: TrainerControl, tell: Tell) -> Predicted:
        """Raises BadInput, StopRequested."""
        config, compute = self._order.config, self._compute
        with ExitStack() as stack:
            output = Path(self._order.output) if self._order.output else None
            reading = output_reading(self._task, self._images.classes)
            kept = Predictions(output, reading, input_images.namer(self._images))
            stack.callback(kept.discard)
            pin = config.data.pin_memory and compute.is_gpu
            loader = stack.enter_context(closing(make_loader(self._images, config, train=False, pin=pin)))
            feed = DevicePrefetcher(config, compute, train=False, task=self._task)
            peak_memory.reset_peak(compute)
            batches = stack.enter_context(closing(feed.batches(loader.epoch(0), StepClock(compute))))
            told = time.perf_counter()
            with torch.inference_mode():
                for batch in self._timing(batches):
                    self._try(network, feed, batch, kept)
                    if time.perf_counter() - told > _TELL_SECONDS:
                        told = time.perf_counter()
                        tell(f"{self._done} of {self._samples} samples")
                    control.raise_if_stopped()
            kept.finish()
        return self._told(kept)

    def _timing(self, batches: Iterator[DeviceBatch]) -> Iterator[DeviceBatch]:
        """As many as are wanted; their pace is that of all but the first, in which workers start and kernels are
        chosen, unless there is no other."""
        began, before = time.perf_counter(), 0
        for number, batch in enumerate(batches):
            yield batch
            last = self._done >= self._samples
            if number == 0 and not last:
                self._settle()
                began, before = time.perf_counter(), self._done
            if last:
                break
        self._settle()
        self._seconds, self._timed = time.perf_counter() - began, self._done - before

    def _try(self, network: nn.Module, feed: DevicePrefetcher, batch: DeviceBatch, kept: Predictions) -> None:
        prepared = feed.prepare(batch)
        with self._compute.autocast():
            outputs = network(prepared.images)
        count = min(len(prepared.targets), self._samples - self._done)
        rows = self._own_rows(batch.indices, count)
        if rows:
            outputs = outputs[rows].float()
            kept.add([self._done + row for row in rows], outputs)
            if self._scores is not None:
                self._scores.add(outputs, prepared.targets[rows])
        self._bad += count - len(rows)
        self._done += count

    def _own_rows(self, indices: npt.NDArray[np.int64], count: int) -> list[int]:
        """The rows of a batch that show its own samples: in the place of an unreadable one stands another."""
        if self._images.user_dataset is not None:
            return list(range(count))
        group = self._images.group
        shown = (indices[::group] // group).tolist()
        return [row for row in range(count) if shown[row] == self._done + row]

    def _settle(self) -> None:
        """Wait for the device."""
        if self._compute.is_gpu:
            torch.cuda.synchronize(self._compute.device)

    def _told(self, kept: Predictions) -> Predicted:
        counts = kept.counts
        classes = self._images.classes if counts else ()
        some = self._scores is not None and self._done > self._bad
        return Predicted(
            device=self._compute.name,
            gpu=self._compute.is_gpu,
            precision=self._compute.precision,
            batch_size=self._order.config.data.val_batch_size or self._order.config.data.batch_size,
            samples=self._done,
            seconds=self._seconds,
            samples_per_second=self._timed / self._seconds,
            peak_bytes=peak_memory.peak(self._compute),
            metrics=self._scores.metrics() if self._scores is not None and some else {},
            metric=self._task.metric,
            bad_samples=self._bad,
            classes=classes,
            counts=tuple(counts.get(number, 0) for number in range(len(classes))),
        )
