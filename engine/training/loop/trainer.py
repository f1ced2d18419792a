"""The training of a run on one device, alone or as one of several ranks, from the data to the last checkpoint.

Reads from `Trainer.train` downwards.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import torch

from gputrain.engine.checkpointing.checkpoint_saver import Kind
from gputrain.engine.checkpointing.resume_position import ResumePosition
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.datasets.bad_images import BadImages
from gputrain.engine.events import Outcome, Phase, RunEnded
from gputrain.engine.processes import compile_cache
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.shared_loop import epoch_end
from gputrain.engine.shared_loop.live_tuning import LiveTuner
from gputrain.engine.training.distributed.process_group import SingleProcess
from gputrain.engine.training.loop.model_report import model_ready
from gputrain.engine.training.loop.trainer_parts import build_parts
from gputrain.engine.training.optim.train_step import Failure, RepeatInParts, classify_failure
from gputrain.engine.training.runtime import rng_state
from gputrain.engine.training.state import torch_checkpoint, training_state
from gputrain.engine.training.transforms.device_transforms import DeviceBatch


class Trainer:
    """One run on one device."""

    def __init__(
        self,
        directory: Path,
        config: RunConfig,
        reporter: EventReporter,
        control: TrainerControl,
        ranks: SingleProcess | None = None,
    ) -> None:
        """`ranks`: the processes that train it together, each with a Trainer; None: this one alone."""
        self._config = config
        self._ranks = ranks or SingleProcess()
        self._reporter = reporter
        self._tuner = LiveTuner(reporter)
        self._control = control
        self._bad_images = BadImages(directory, reporter)
        folder = directory / "checkpoints"
        self._saver = torch_checkpoint.saver(folder, config.checkpoint, reporter, writes=self._ranks.is_main_process)
        self._position = ResumePosition()
        self._lr = 0.0
        self._to_retune = False
        """Other settings for loading are to be put into effect, by all ranks now."""
        self._early = ""
        """Why the run ends before its last step, unless it was asked to; else empty."""

    @property
    def step(self) -> int:
        """Steps done so far."""
        return self._position.step

    def train(self) -> RunEnded:
        """Train to the end, or to where the run is asked to stop. Raises BadInput, and whatever else goes wrong."""
        with contextlib.ExitStack() as loaders:
            # Whatever ends the run, a checkpoint that is under way gets to the disk.
            loaders.callback(self._saver.finish)
            self._build(loaders)
            self._train_epochs()
            if self._control.stop != "now":
                self._save("final")
            self._ranks.leave()
        if self._control.stop:
            return self._control.ended(self.step)
        skipped = f"; {self._skips.total} updates were skipped" if self._skips.total else ""
        reason = (self._early or "all steps are done") + skipped
        return RunEnded(outcome=Outcome.FINISHED, reason=reason, step=self.step)

    # What is made before the first step.

    def _build(self, loaders: contextlib.ExitStack) -> None:
        config = self._config
        parts = build_parts(config, self._ranks, self._reporter, self._control, self._bad_images, loaders)
        self._compute, self._images, self._task, self._growth = parts.compute, parts.images, parts.task, parts.growth
        self._clock, self._stepper, self._supply = parts.clock, parts.stepper, parts.supply
        self._validation, self._schedule, self._skips = parts.validation, parts.schedule, parts.skips
        self._meter, self._windows = parts.meter, parts.windows
        self._tuner.epoch_updates = -(-len(self._supply) // config.optim.accumulation_steps)
        if config.resume_from:
            self._resume()
        self._ready = model_ready(config, self._compute, self._stepper, self._schedule, parts.flops, self.step)
        self._reporter.send(self._ready)

    def _resume(self) -> None:
        state = torch_checkpoint.load(self._config.resume_from, lambda text: self._reporter.notice("warning", text))
        for text in training_state.check(state, self._config, self._images):
            self._reporter.notice("warning", text)
        training_state.restore_order(state, self._images)
        self._position = training_state.restore(state, self._stepper, self._ranks.rank)
        self._meter.epoch_sum, self._meter.epoch_steps = self._position.loss_sum, self._position.loss_steps
        self._skips.total, self._skips.in_a_row = self._position.skips, self._position.skips_in_a_row
        self._saver.go_on_from(self.step)
        where = f"step {self.step} (epoch {self._position.epoch + 1})"
        self._reporter.notice("info", f"going on from {where} of {self._config.resume_from}")

    # The loop.

    def _train_epochs(self) -> None:
        if self._position.unvalidated:
            self._close_epoch()
        while not self._done():
            compiles = self._config.speed.compile and self.step == 0
            if compiles:
                key = compile_cache.key(self._config, self._compute.precision, self._compute.device.type)
                self._reporter.phase(Phase.COMPILING, key=key)
            else:
                self._reporter.phase(Phase.WARMING_UP)
            began, first_image = time.perf_counter(), self._position.images
            self._train_epoch()
            if self._position.batch:
                # In mid-epoch: the run was asked to stop, or has done its max_steps.
                return
            self._end_epoch(time.perf_counter() - began, self._position.images - first_image)

    def _done(self) -> bool:
        return bool(self._control.stop or self._early) or self.step >= self._schedule.total_steps

    def _train_epoch(self) -> None:
        """Train on what is left of the present epoch; leaves `training_state.batch` at 0 if that was all of it."""
        self._stepper.network.train()
        self._windows.new_epoch(self._growth, self._position.epoch)
        self._training = False
        self._clock.new_epoch()
        self._skip()
        while (then := self._train_batches()) is not None:
            then()
        self._windows.report(self._position, self._lr, self._stepper, force=True)
        if self._position.batch >= len(self._supply):
            self._position.batch = 0

    def _train_batches(self) -> Callable[[], None] | None:
        """Train from the present batch on; what to do before going on with the next, or None at the end."""
        batches = self._supply.batches(self._position.epoch, self._position.batch, self._clock)
        try:
            for group in self._groups(batches):
                if (again := self._update(group)) is not None:
                    return again
                self._between_updates()
                if self._done():
                    break
                if self._to_retune:
                    return self._retune
        finally:
            batches.close()
        return None

    def _groups(self, batches: Iterator[DeviceBatch]) -> Iterator[tuple[Iterator[DeviceBatch], int]]:
        """The batches of each update, and how many they are: the last group of an epoch may be smaller."""
        while (left := len(self._supply) - self._position.batch) > 0:
            size = min(self._config.optim.accumulation_steps, left)
            yield (next(batches) for _ in range(size)), size

    def _update(self, group: tuple[Iterator[DeviceBatch], int]) -> Callable[[], None] | None:
        """Do one update. Where it fails, all is as it was before; returns what to do before it is begun again."""
        batches, size = group
        before = dataclasses.replace(self._position)
        lr = self._schedule.lr_at(before.updates)
        failure = Failure.NONE
        try:
            for number, batch in enumerate(batches, 1):
                with self._clock.computing("prepare"):
                    prepared = self._supply.feed.prepare(batch)
                self._step_done(self._stepper.backward(prepared, 1 / size, last=number == size), batch)
        except (torch.OutOfMemoryError, RepeatInParts) as error:
            failure = classify_failure(error)
        failure = self._of_all(failure)
        if failure is Failure.NONE:
            try:
                self._stepper.update(lr, before.updates + 1)
            except torch.OutOfMemoryError as error:
                failure = classify_failure(error)
        if failure is not Failure.NONE:
            self._windows.undo(self.step - before.step, self._position.images - before.images)
            self._position = before
            return self._begin_again if failure is Failure.REPEAT else lambda: self._stepper.divide(self.step)
        self._lr = lr
        self._position.updates += 1
        self._windows.update_done(self._stepper.skipped)
        return None

    def _step_done(self, loss: torch.Tensor, batch: DeviceBatch) -> None:
        self._position.batch += 1
        self._position.step += 1
        self._position.images += len(batch.labels) * self._ranks.count
        self._windows.step_done(loss, self.step, batch)

    def _of_all(self, failure: Failure) -> Failure:
        """Exchange gradients with the other ranks, and what is asked of them; returns the gravest failure of all."""
        if self._ranks.count == 1:
            return failure
        self._stepper.exchange(failed=failure is not Failure.NONE)
        self._control.poll()
        gravest, retune = self._control.all_reduce_requests(self._ranks, failure, bool(self._tuner.pending))
        if not gravest:
            self._stepper.exchange_losses()
        if retune:
            self._tuner.pending = self._ranks.broadcast_object(self._tuner.pending)
            self._to_retune = True
        return Failure(gravest)

    def _begin_again(self) -> None:
        self._stepper.give_up()
        self._skip()

    def _retune(self) -> None:
        """Go on with another loader, at the batch after the last; what it delivers is the same."""
        self._to_retune = False
        before = self._config
        try:
            self._config = self._supply.change(lambda: self._tuner.wanted(before))
        except BadInput as error:
            self._tuner.failed(error, self.step)
            return
        self._windows.change_source(self._supply.loader)
        self._skip()
        self._tuner.changed(before, self._config, self.step)

    def _between_updates(self) -> None:
        if not self._training:
            # The first update of an epoch is through: the queue was filled, the graph compiled.
            self._training = True
            self._reporter.phase(Phase.TRAINING)
        if self._ready.compiled and not self._stepper.compiled:
            self._ready = msgspec.structs.replace(self._ready, compiled=False, start_step=self.step)
            self._reporter.send(self._ready)
        self._windows.report(self._position, self._lr, self._stepper)
        self._tuner.update_done(self._position.images, self.step)
        if self._ranks.count == 1:
            self._control.poll()
        if self._control.tune is not None:
            self._tuner.ask(self._control.tune, self._config, self.step)
            self._control.tune = None
        if self._ranks.count == 1:
            self._to_retune = bool(self._tuner.pending)
        if self._control.checkpoint:
            self._control.checkpoint = False
            self._save_within("requested")
        elif epoch_end.due_within(self._config.checkpoint, self.step, self._saver.saved_step):
            self._save_within("last")
        if self._control.paused:
            if self._ranks.is_main_process:
                self._control.wait_while_paused(self._reporter.phase, Phase.TRAINING)
            else:
                self._control.paused = False
            self._control.all_reduce_requests(self._ranks)
            self._skip()

    def _end_epoch(self, seconds: float, images: int) -> None:
        where = self._position
        epoch_end.end_epoch(self._reporter, where, seconds, images, self._meter.take_epoch())
        due = epoch_end.validation_due(self._config.checkpoint, where, self._schedule.total_steps)
        where.unvalidated = self._validation is not None and due
        self._close_epoch()

    def _close_epoch(self) -> None:
        """Try the model if that is due, and save it; after a stop in the midst of it, again where the run goes on."""
        where, settings = self._position, self._config.checkpoint
        best = False
        if self._validation is not None and where.unvalidated:
            # One that is cut off and done again would leave other numbers to the training.
            with rng_state.preserved_rng(devices=True):
                best = self._validation.judge(self._stepper, where)
            self._control.all_reduce_requests(self._ranks)
        self._early = epoch_end.early_stop_reason(settings, where, self._task.metric)
        if kind := epoch_end.checkpoint_due(settings, where, best=best, stopped=bool(self._control.stop)):
            self._save(kind)

    def _skip(self) -> None:
        """The time that was just spent was not for training."""
        self._windows.skip()
        self._tuner.skip()

    def _save_within(self, kind: Kind) -> None:
        self._save(kind)
        self._reporter.phase(Phase.TRAINING)
        self._skip()

    def _save(self, kind: Kind) -> None:
        where = self._position
        self._meter.fetch_all()
        where.loss_sum, where.loss_steps = self._meter.epoch_sum, self._meter.epoch_steps
        where.skips, where.skips_in_a_row = self._skips.total, self._skips.in_a_row
        average = self._stepper.ema.network if self._stepper.ema is not None else None
        self._ranks.average_buffers([self._stepper.network, *([average] if average is not None else [])])
        drawn = self._ranks.gather(training_state.generator_states()) if self._ranks.count > 1 else ()
        self._saver.save(
            kind, where, lambda: training_state.state_of(where, self._config, self._images, self._stepper, drawn)
        )
