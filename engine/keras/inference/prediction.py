"""Prediction with a trained Keras network: outputs, metrics if there are labels, throughput, memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gputrain.engine.common.errors import BadInput
from gputrain.engine.datasets import image_set, value_range_scan
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.jobs.predict_job import Predicted, PredictOrder
from gputrain.engine.jobs.prediction_csv import CLASS_COLUMNS, PredictionFile, class_cells
from gputrain.engine.keras import checkpoint, device, networks, out_of_memory
from gputrain.engine.keras.data import keras_images
from gputrain.engine.keras.data.tf_data_pipeline import Batch, Pipeline
from gputrain.engine.keras.library import tf
from gputrain.engine.keras.validation import METRIC
from gputrain.engine.processes.child_job import ProgressCallback
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl

_PROGRESS_SECONDS = 1.0
_FLUSH_SAMPLES = 4096
"""Samples whose logits are collected on the device before they are fetched."""
_TOP = 5


class PredictionRun:
    """One pass over the images of a set, in order."""

    def __init__(
        self, order: PredictOrder, reporter: EventReporter, control: TrainerControl, tell: ProgressCallback
    ) -> None:
        """Raises BadInput for a checkpoint or images that can't be used, StopRequested."""
        self._order, self._control, self._tell = order, control, tell
        self._compute = device.set_up(order.config, reporter.notice)
        state = checkpoint.load(order.config.resume_from, tell)
        tell("looking for images")
        self._images, self._labelled = _images(order, tuple(state["classes"]), reporter, control)
        self._network = networks.build(order.config, len(state["classes"]))
        checkpoint.restore_arrays(self._network.variables, state["model"], "model")
        every = len(self._images)
        self._samples = min(every, order.limit) if order.limit else every
        self._classes = self._images.classes
        self._counts = [0] * len(self._classes)
        self._sums = np.zeros(3)
        self._waiting: list[tuple[npt.NDArray[np.int64], Any]] = []
        self._done = self._bad = self._timed = 0
        self._seconds = 0.0

    def run(self) -> Predicted:
        """Raises BadInput, StopRequested."""
        source = Pipeline(self._images, self._order.config, train=False, on_bad=lambda found: None)
        predict = tf.function(self._scores, autograph=False)
        with ExitStack() as stack, out_of_memory.out_of_memory_error():
            file = PredictionFile(Path(self._order.output) if self._order.output else None, CLASS_COLUMNS)
            stack.callback(file.discard)
            device.reset_peak(self._compute)
            batches = stack.enter_context(closing(source.epoch(0)))
            reported = time.perf_counter()
            for batch in self._timing(batches, file):
                self._predict(predict, batch)
                if sum(len(rows) for rows, _ in self._waiting) >= _FLUSH_SAMPLES:
                    self._flush(file)
                if time.perf_counter() - reported > _PROGRESS_SECONDS:
                    reported = time.perf_counter()
                    self._tell(f"{self._done} of {self._samples} samples")
                self._control.raise_if_stopped()
            file.finish()
        return self._result()

    def _timing(self, batches: Iterator[Batch], file: PredictionFile) -> Iterator[Batch]:
        """Batches up to the wanted number of samples. The first batch is left out of the timing (the graph is traced)
        unless it is the only one."""
        began, before = time.perf_counter(), 0
        for number, batch in enumerate(batches):
            yield batch
            last = self._done >= self._samples
            if number == 0 and not last:
                self._flush(file)
                began, before = time.perf_counter(), self._done
            if last:
                break
        # Waits for the device.
        self._flush(file)
        self._seconds, self._timed = time.perf_counter() - began, self._done - before

    def _scores(self, pixels: Any) -> Any:
        return tf.cast(self._network(tf.cast(pixels, tf.float32), training=False), tf.float32)

    def _predict(self, predict: Any, batch: Batch) -> None:
        count = min(len(batch), self._samples - self._done)
        # Replacements of unreadable images are left out.
        own = np.flatnonzero(batch.indices[:count] == self._done + np.arange(count))
        self._waiting.append((self._done + own, tf.gather(predict(batch.pixels), own)))
        self._bad += count - len(own)
        self._done += count

    def _flush(self, file: PredictionFile) -> None:
        for samples, scores in self._waiting:
            self._take(samples, scores.numpy().astype(np.float64), file)
        self._waiting.clear()

    def _take(self, samples: npt.NDArray[np.int64], scores: npt.NDArray[np.float64], file: PredictionFile) -> None:
        shares = np.exp(scores - scores.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        best = scores.argmax(1)
        for sample, number, row in zip(samples.tolist(), best.tolist(), shares, strict=True):
            self._counts[number] += 1
            file.add(self._images.name(sample), class_cells(self._classes[number], float(row[number])))
        if self._labelled:
            labels = self._images.labels[samples]
            own = scores[np.arange(len(labels)), labels]
            most = scores.max(1)
            losses = np.log(np.exp(scores - most[:, None]).sum(1)) + most - own
            ranks = (scores > own[:, None]).sum(1)
            self._sums += (losses.sum(), (best == labels).sum(), (ranks < _TOP).sum())

    def _result(self) -> Predicted:
        data, some = self._order.config.data, self._done - self._bad
        return Predicted(
            device=self._compute.name,
            gpu=self._compute.is_gpu,
            precision=self._compute.precision,
            batch_size=data.val_batch_size or data.batch_size,
            samples=self._done,
            seconds=self._seconds,
            samples_per_second=self._timed / self._seconds,
            peak_bytes=device.peak(self._compute),
            metrics=self._metrics(some) if self._labelled and some else {},
            metric=METRIC,
            bad_samples=self._bad,
            classes=self._classes if some else (),
            counts=tuple(self._counts) if some else (),
        )

    def _metrics(self, count: int) -> dict[str, float]:
        loss, top1, top5 = (float(value) / count for value in self._sums)
        return {"loss": loss, METRIC: top1, **({"accuracy_top5": top5} if len(self._classes) > _TOP else {})}


def _images(
    order: PredictOrder, classes: tuple[str, ...], reporter: EventReporter, control: TrainerControl
) -> tuple[ImageSet, bool]:
    """The images, and whether they have labels. Raises BadInput."""
    if order.images:
        found, labelled = image_set.found_at(Path(order.images), classes)
        chosen, warnings = value_range_scan.range_for(order.config, Path(order.images))
        for text in warnings:
            reporter.notice("warning", text)
        return keras_images.with_decoding(found, order.config, chosen), labelled
    train, val = keras_images.prepare(order.config, reporter, control)
    if val is None:
        raise BadInput("the run has no validation images; name a folder of images: --images DIR")
    if train.classes != classes:
        raise BadInput("the data have other classes than the run had; name images instead: --images DIR")
    return val, True
