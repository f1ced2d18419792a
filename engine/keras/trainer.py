"""The training of a run of Keras, from the data to the last checkpoint. Reads from `KerasTrainer.train` downwards."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from gputrain.engine.checkpointing.checkpoint_saver import Kind
from gputrain.engine.checkpointing.resume_position import ResumePosition, check_continuation
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.configuration.settings import flatten
from gputrain.engine.datasets.bad_images import BadImages
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.events import Outcome, Phase, RunEnded, Tuned
from gputrain.engine.keras import checkpoint, device, networks, optimizers, out_of_memory
from gputrain.engine.keras.data import keras_images
from gputrain.engine.keras.data.tf_data_pipeline import Batch, Pipeline
from gputrain.engine.keras.loss_fetcher import LaunchedStep, LossFetcher
from gputrain.engine.keras.model_report import compiling_key, model_ready
from gputrain.engine.keras.step_windows import StepWindows
from gputrain.engine.keras.train_step import TrainStep
from gputrain.engine.keras.validation import METRIC, Validation
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.shared_loop import epoch_end
from gputrain.engine.shared_loop.lr_schedule import LRSchedule
from gputrain.engine.shared_loop.nonfinite_loss import NonFinitePolicy

_NOT_LIVE = "a training of Keras can't be changed while it runs: stop it, and resume it with the setting"


class KerasTrainer:
    """One run on one device."""

    def __init__(self, directory: Path, config: RunConfig, reporter: EventReporter, control: TrainerControl) -> None:
        self._config, self._reporter, self._control = config, reporter, control
        self._bad_images = BadImages(directory, reporter)
        self._saver = checkpoint.saver(directory / "checkpoints", config.checkpoint, reporter)
        self._position = ResumePosition()
        self._lr = 0.0
        self._traced = False
        """The graph of a step was made in this process."""
        self._early = ""
        """Why the run ends before its last step, unless it was asked to; else empty."""

    @property
    def step(self) -> int:
        """Steps done so far."""
        return self._position.step

    def train(self) -> RunEnded:
        """Train to the end, or to where the run is asked to stop. Raises BadInput, and whatever else goes wrong."""
        with contextlib.ExitStack() as stack, out_of_memory.out_of_memory_error():
            # Whatever ends the run, a checkpoint that is under way gets to the disk.
            stack.callback(self._saver.finish)
            self._build(stack)
            self._train_epochs()
            if self._control.stop != "now":
                self._save("final")
        if self._control.stop:
            return self._control.ended(self.step)
        return RunEnded(outcome=Outcome.FINISHED, reason=self._early or "all steps are done", step=self.step)

    # What is made before the first step.

    def _build(self, stack: contextlib.ExitStack) -> None:
        config, reporter = self._config, self._reporter
        self._compute = device.set_up(config, reporter.notice)
        self._images, val = keras_images.prepare(config, reporter, self._control)
        reporter.phase(Phase.BUILDING, config.model.model)
        classes = len(self._images.classes)
        network = networks.build(config, classes)
        self._stepper = TrainStep(network, config, classes, self._compute.precision)
        self._control.raise_if_stopped()
        self._source = self._pipeline(self._images, "training")
        self._validation = self._prepared_validation(val) if val is not None else None
        self._schedule = LRSchedule(config, len(self._source))
        self._fetcher = LossFetcher(beside=self._compute.is_gpu)
        stack.callback(self._fetcher.close)
        skips = NonFinitePolicy(reporter.notice, self._images.shown)
        self._windows = StepWindows(reporter, self._source, self._compute, self._fetcher, skips, self._bad_images)
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

    def _resume(self) -> None:
        state = checkpoint.load(self._config.resume_from, lambda text: self._reporter.notice("warning", text))
        for text in check_continuation(state, flatten(self._config), self._images.classes, len(self._images)):
            self._reporter.notice("warning", text)
        checkpoint.restore_arrays(self._stepper.network.variables, state["model"], "model")
        checkpoint.restore_arrays(
            self._stepper.optimizer.variables, state["optimizer"], "optimizer", optimizers.SCALING
        )
        self._position = ResumePosition(**state["position"])
        self._windows.epoch_sum, self._windows.epoch_steps = self._position.loss_sum, self._position.loss_steps
        self._saver.go_on_from(self.step)
        where = f"step {self.step} (epoch {self._position.epoch + 1})"
        self._reporter.notice("info", f"going on from {where} of {self._config.resume_from}")

    # The loop.

    def _train_epochs(self) -> None:
        if self._position.unvalidated:
            self._close_epoch()
        while not self._done():
            if self._traced:
                self._reporter.phase(Phase.WARMING_UP)
            else:
                self._reporter.phase(Phase.COMPILING, key=compiling_key(self._config, self._compute))
            began, first_image = time.perf_counter(), self._position.images
            self._train_epoch()
            if self._position.batch:
                # In mid-epoch: the run was asked to stop, or has done its max_steps.
                return
            self._end_epoch(time.perf_counter() - began, self._position.images - first_image)

    def _done(self) -> bool:
        return bool(self._control.stop or self._early) or self.step >= self._schedule.total_steps

    def _train_epoch(self) -> None:
        """Train on what is left of the present epoch; leaves `position.batch` at 0 if that was all of it."""
        where, first = self._position, True
        self._windows.skip()
        # The threads of tf.data end with the iterator.
        with contextlib.closing(self._source.epoch(where.epoch, where.batch)) as batches:
            while where.batch < len(self._source):
                asked = time.perf_counter()
                batch = next(batches)
                waited = time.perf_counter() - asked
                if not self._traced:
                    # Minutes with a large network, which would be taken for the time of a step.
                    self._stepper.trace(batch)
                    self._traced, waited = True, 0.0
                    self._windows.skip()
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
        figures = self._stepper.step(batch, self._lr)
        self._fetcher.add(LaunchedStep(where.step + 1, figures, batch.indices, began, waited, first))
        where.batch += 1
        where.step += 1
        where.updates += 1
        where.images += len(batch)
        self._windows.step_done(batch)

    def _between_steps(self) -> None:
        self._windows.report(self._position, self._lr)
        self._control.poll()
        if (wish := self._control.tune) is not None:
            self._control.tune = None
            self._reporter.send(
                Tuned(verdict="refused", changes=wish.changes, step=self.step, sender=wish.sender, text=_NOT_LIVE)
            )
        if self._control.checkpoint:
            self._control.checkpoint = False
            self._save_within("requested")
        elif epoch_end.due_within(self._config.checkpoint, self.step, self._saver.saved_step):
            self._save_within("last")
        if self._control.paused:
            self._windows.report(self._position, self._lr, force=True)
            self._control.wait_while_paused(self._reporter.phase, Phase.TRAINING)
            self._windows.skip()

    def _end_epoch(self, seconds: float, images: int) -> None:
        where = self._position
        epoch_end.end_epoch(self._reporter, where, seconds, images, self._windows.take_epoch())
        due = epoch_end.validation_due(self._config.checkpoint, where, self._schedule.total_steps)
        where.unvalidated = self._validation is not None and due
        self._close_epoch()

    def _close_epoch(self) -> None:
        """Try the network if that is due, and save it; after a stop in the midst of it, again where the run goes on."""
        where, settings = self._position, self._config.checkpoint
        best = False
        if self._validation is not None and where.unvalidated:
            best = self._validation.judge(self._stepper, where)
        self._early = epoch_end.early_stop_reason(settings, where, METRIC)
        if kind := epoch_end.checkpoint_due(settings, where, best=best, stopped=bool(self._control.stop)):
            self._save(kind)

    def _save_within(self, kind: Kind) -> None:
        self._windows.report(self._position, self._lr, force=True)
        self._save(kind)
        self._reporter.phase(Phase.TRAINING)
        self._windows.skip()

    def _save(self, kind: Kind) -> None:
        where = self._position
        self._windows.fetch_all()
        where.loss_sum, where.loss_steps = self._windows.epoch_sum, self._windows.epoch_steps
        network, optimizer = self._stepper.network, self._stepper.optimizer
        self._saver.save(
            kind, where, lambda: checkpoint.state_of(where, self._config, self._images, network, optimizer)
        )
