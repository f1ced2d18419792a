"""The training loop of a Keras run, on one device.

What both engines share is in `shared_loop.training_loop`; here is how an epoch runs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gputrain.engine.checkpointing.checkpoint_saver import Kind
from gputrain.engine.checkpointing.resume_position import ResumePosition
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets.bad_image_list import BadImages
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.events import Phase, RunEnded, Tuned
from gputrain.engine.keras import checkpoint, device, networks, optimizers, out_of_memory
from gputrain.engine.keras.data import keras_images
from gputrain.engine.keras.data.tf_data_pipeline import Batch, Pipeline
from gputrain.engine.keras.keras_step_windows import StepWindows
from gputrain.engine.keras.loss_fetcher import LaunchedStep, LossFetcher
from gputrain.engine.keras.model_report import compiling_key, model_ready
from gputrain.engine.keras.train_step import TrainStep
from gputrain.engine.keras.validation import METRIC, Validation
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.shared_loop.lr_schedule import LRSchedule
from gputrain.engine.shared_loop.nonfinite_loss import NonFinitePolicy
from gputrain.engine.shared_loop.training_loop import TrainingLoop

_NOT_LIVE = "a Keras run can't change settings while it runs: stop it, and resume it with the setting"


class KerasTrainer(TrainingLoop):
    """One Keras run on one device."""

    _metric = METRIC

    def __init__(self, directory: Path, config: RunConfig, reporter: EventReporter, control: TrainerControl) -> None:
        saver = checkpoint.saver(directory / "checkpoints", config.checkpoint, reporter)
        super().__init__(config, reporter, control, BadImages(directory, reporter), saver)
        self._traced = False
        """This process has traced the graph of a step."""

    def train(self) -> RunEnded:
        """See `TrainingLoop`. Raises NoGpuMemoryError or MemoryError where memory runs out."""
        with out_of_memory.out_of_memory_error():
            return super().train()

    # Before the first step.

    def _build(self, stack: contextlib.ExitStack) -> None:
        config, reporter = self._config, self._reporter
        self._compute = device.set_up(config, reporter.notice)
        self._images, val = keras_images.prepare(config, reporter, self._control)
        reporter.phase(Phase.BUILDING, config.model.model)
        classes = len(self._images.classes)
        network = networks.build(config, classes, reporter.notice)
        self._stepper = TrainStep(network, config, classes, self._compute.precision)
        self._control.raise_if_stopped()
        self._source = self._pipeline(self._images, "training")
        self._validation = self._prepared_validation(val) if val is not None else None
        self._validates = val is not None
        self._schedule = LRSchedule(config, len(self._source))
        self._fetcher = LossFetcher(threaded=self._compute.is_gpu)
        stack.callback(self._fetcher.close)
        self._nonfinite = NonFinitePolicy(reporter.notice, self._images.shown)
        self._windows = StepWindows(
            reporter, self._source, self._compute, self._fetcher, self._nonfinite, self._bad_images
        )
        self._epoch_loss = self._windows.epoch
        if config.resume_from:
            self._resume()
        reporter.send(model_ready(config, self._compute, self._stepper, self._schedule, self.step))

    def _pipeline(self, images: ImageSet, split: str) -> Pipeline:
        def on_bad(found: list[tuple[str, str]]) -> None:
            self._bad_images.add(split, found)

        return Pipeline(images, self._config, train=split == "training", on_bad=on_bad)

    def _prepared_validation(self, images: ImageSet) -> Validation:
        return Validation(
            source=self._pipeline(images, "validation"),
            classes=len(images.classes),
            control=self._control,
            reporter=self._reporter,
            bad_images=self._bad_images,
        )

    def _load_checkpoint(self, warn: Callable[[str], None]) -> dict[str, Any]:
        return checkpoint.load(self._config.resume_from, warn)

    def _restore(self, state: dict[str, Any]) -> ResumePosition:
        checkpoint.restore_arrays(self._stepper.network.variables, state["model"], "model")
        checkpoint.restore_arrays(
            self._stepper.optimizer.variables, state["optimizer"], "optimizer", optimizers.SCALING
        )
        return ResumePosition(**state["position"])

    # An epoch.

    def _compile_key(self) -> str | None:
        return None if self._traced else compiling_key(self._config, self._compute)

    def _train_epoch(self) -> None:
        where, first = self._position, True
        self._skip()
        # The threads of tf.data end with the iterator.
        with contextlib.closing(self._source.epoch(where.epoch, where.batch)) as batches:
            while where.batch < len(self._source):
                began = time.perf_counter()
                batch = next(batches)
                waited = time.perf_counter() - began
                if not self._traced:
                    # Takes minutes for a large network, which must not count as the time of a step.
                    self._stepper.trace(batch)
                    self._traced, waited = True, 0.0
                    self._skip()
                self._step(batch, waited, first)
                if first:
                    self._reporter.phase(Phase.TRAINING)
                first = False
                self._between_steps()
                if self._done():
                    break
        self._windows.report(where, self._lr, force=True)
        if where.batch >= len(self._source):
            where.batch = 0

    def _step(self, batch: Batch, waited: float, first: bool) -> None:
        where = self._position
        self._lr = self._schedule.lr_at(where.updates)
        began = time.perf_counter()
        outputs = self._stepper.step(batch, self._lr)
        self._fetcher.add(LaunchedStep(where.step + 1, outputs, batch.indices, began, waited, first))
        where.batch += 1
        where.step += 1
        where.updates += 1
        where.images += len(batch)
        self._windows.step_done(batch)

    def _between_steps(self) -> None:
        self._windows.report(self._position, self._lr)
        self._control.poll()
        if (command := self._control.tune) is not None:
            self._control.tune = None
            self._reporter.send(
                Tuned(verdict="refused", changes=command.changes, step=self.step, sender=command.sender, text=_NOT_LIVE)
            )
        self._save_if_due()
        if self._control.paused:
            self._windows.report(self._position, self._lr, force=True)
            self._control.wait_while_paused(self._reporter.phase, Phase.TRAINING)
            self._skip()

    def _validate(self) -> bool:
        assert self._validation is not None
        return self._validation.validate(self._stepper, self._position)

    def _skip(self) -> None:
        self._windows.skip()

    def _fetch_losses(self) -> None:
        self._windows.fetch_all()

    def _save_within(self, kind: Kind) -> None:
        self._windows.report(self._position, self._lr, force=True)
        super()._save_within(kind)

    def _prepare_state(self) -> Callable[[], dict[str, Any]]:
        where, network, optimizer = self._position, self._stepper.network, self._stepper.optimizer
        return lambda: checkpoint.state_of(where, self._config, self._images, network, optimizer)
