"""The training of a run on one device, from the data to the last checkpoint. Reads from `Trainer.train` downwards."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import torch

from gputrain.engine.config import RunConfig
from gputrain.engine.errors import BadInput
from gputrain.engine.events import EpochEnded, Outcome, Phase, RunEnded
from gputrain.engine.position import Position
from gputrain.engine.training import checkpoint, compilecache, data, device, flops, generators, model, position
from gputrain.engine.training.badimages import BadImages
from gputrain.engine.training.control import Control
from gputrain.engine.training.device_augment import DeviceBatch, Feed
from gputrain.engine.training.images import ImageSet
from gputrain.engine.training.meter import Meter
from gputrain.engine.training.modelready import model_ready
from gputrain.engine.training.reporter import Reporter
from gputrain.engine.training.runloaders import RunLoaders
from gputrain.engine.training.saving import Kind
from gputrain.engine.training.schedule import Schedule
from gputrain.engine.training.skips import Skips
from gputrain.engine.training.stepper import Repeat, Stepper
from gputrain.engine.training.timing import Clock
from gputrain.engine.training.tuning import Tuner
from gputrain.engine.training.validate import Validation
from gputrain.engine.training.windows import Windows


class Trainer:
    """One run on one device."""

    def __init__(self, directory: Path, config: RunConfig, reporter: Reporter, control: Control) -> None:
        self._config = config
        self._reporter = reporter
        self._tuner = Tuner(reporter)
        self._control = control
        self._bad_images = BadImages(directory, reporter)
        self._saver = checkpoint.saver(directory / "checkpoints", config.checkpoint, reporter)
        self._position = Position()
        self._lr = 0.0
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
        if self._control.stop:
            return self._control.ended(self.step)
        skipped = f"; {self._skips.total} updates were skipped" if self._skips.total else ""
        reason = (self._early or "all steps are done") + skipped
        return RunEnded(outcome=Outcome.FINISHED, reason=reason, step=self.step)

    # What is made before the first step.

    def _build(self, loaders: contextlib.ExitStack) -> None:
        config = self._config
        self._compute = device.set_up(config, self._reporter.notice)
        images = data.prepare(config, self._reporter, self._control)
        self._images, self._task = images.train, images.task
        self._reporter.phase(Phase.BUILDING, config.model.model)
        network = model.build(config, images.task, self._compute)
        each = flops.flops_per_image(network, config.data.image_size, images.task.group)
        self._growth = flops.checked_growth(network, config, each, images.task.group)
        self._clock = Clock(self._compute)
        self._stepper = Stepper(network, config, self._compute, self._clock, self._reporter.notice, self._task.loss)
        self._control.raise_if_stopped()
        self._loaders = RunLoaders(loaders, self._compute, self._reporter, self._bad_images)
        self._train_loader = self._loaders.first(images.train, config, train=True)
        self._validation = self._prepared_validation(images.val) if images.val is not None else None
        self._schedule = Schedule(config, len(self._train_loader))
        self._tuner.epoch_updates = -(-len(self._train_loader) // config.optim.accumulation_steps)
        self._feed = Feed(config, self._compute, train=True, task=self._task)
        scaled = self._stepper.scaler.is_enabled()
        self._skips = Skips(self._reporter.notice, self._image_name, scaled=scaled)
        self._meter = Meter(self._compute, self._skips)
        self._windows = Windows(
            self._reporter, self._train_loader, self._compute, self._clock, self._meter, self._bad_images
        )
        if config.resume_from:
            self._resume()
        self._ready = model_ready(config, self._compute, self._stepper, self._schedule, each, self.step)
        self._reporter.send(self._ready)

    def _prepared_validation(self, images: ImageSet) -> Validation:
        return Validation(
            loader=self._loaders.first(images, self._config, train=False),
            feed=Feed(self._config, self._compute, train=False, task=self._task),
            compute=device.for_validation(self._compute, self._config),
            task=self._task,
            control=self._control,
            reporter=self._reporter,
            bad_images=self._bad_images,
            config=self._config,
        )

    def _image_name(self, index: int) -> str:
        """An image as its owner knows it: ``class/file``."""
        return "/".join(Path(self._images.path(index)).parts[-2:])

    def _resume(self) -> None:
        state = checkpoint.load(self._config.resume_from, lambda text: self._reporter.notice("warning", text))
        for text in position.check(state, self._config, self._images):
            self._reporter.notice("warning", text)
        position.restore_order(state, self._images)
        self._position = position.restore(state, self._stepper)
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
                key = compilecache.key(self._config, self._compute.precision, self._compute.device.type)
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
        """Train on what is left of the present epoch; leaves `position.batch` at 0 if that was all of it."""
        self._stepper.network.train()
        self._windows.new_epoch(self._growth, self._position.epoch)
        self._training = False
        self._clock.new_epoch()
        self._skip()
        while (then := self._train_batches()) is not None:
            then()
        self._windows.report(self._position, self._lr, self._stepper, force=True)
        if self._position.batch >= len(self._train_loader):
            self._position.batch = 0

    def _train_batches(self) -> Callable[[], None] | None:
        """Train from the present batch on; what to do before going on with the next, or None at the end."""
        source = self._train_loader.epoch(self._position.epoch, self._position.batch)
        batches = self._feed.batches(source, self._clock)
        try:
            for group in self._groups(batches):
                if (again := self._update(group)) is not None:
                    return again
                self._between_updates()
                if self._done():
                    break
                if self._tuner.pending:
                    return self._retune
        finally:
            batches.close()
        return None

    def _groups(self, batches: Iterator[DeviceBatch]) -> Iterator[tuple[Iterator[DeviceBatch], int]]:
        """The batches of each update, and how many they are: the last group of an epoch may be smaller."""
        while (left := len(self._train_loader) - self._position.batch) > 0:
            size = min(self._config.optim.accumulation_steps, left)
            yield (next(batches) for _ in range(size)), size

    def _update(self, group: tuple[Iterator[DeviceBatch], int]) -> Callable[[], None] | None:
        """Do one update. Where it fails, all is as it was before; returns what to do before it is begun again."""
        batches, size = group
        before = dataclasses.replace(self._position)
        lr = self._schedule.lr_at(before.updates)
        try:
            for batch in batches:
                with self._clock.computing("prepare"):
                    prepared = self._feed.prepare(batch)
                self._step_done(self._stepper.backward(prepared, 1 / size), batch)
            self._stepper.update(lr, before.updates + 1)
        except (torch.OutOfMemoryError, Repeat) as error:
            self._windows.undo(self.step - before.step, self._position.images - before.images)
            self._position = before
            return self._skip if isinstance(error, Repeat) else lambda: self._stepper.divide(self.step)
        self._lr = lr
        self._position.updates += 1
        self._windows.update_done(self._stepper.skipped)
        return None

    def _step_done(self, loss: torch.Tensor, batch: DeviceBatch) -> None:
        self._position.batch += 1
        self._position.step += 1
        self._position.images += len(batch.labels)
        self._windows.step_done(loss, self.step, batch)

    def _retune(self) -> None:
        """Go on with another loader, at the batch after the last; what it delivers is the same."""
        before = self._config
        try:
            config = self._tuner.wanted(before)
            loader = self._loaders.make(self._images, config, train=True)
        except BadInput as error:
            self._tuner.failed(error, self.step)
            return
        if self._compute.is_gpu:
            # Copies out of the old loader's page-locked memory.
            torch.cuda.synchronize(self._compute.device)
        self._train_loader.close()
        self._config, self._train_loader = config, loader
        self._feed = Feed(config, self._compute, train=True, task=self._task)
        self._windows.change_source(loader)
        self._skip()
        self._tuner.changed(before, config, self.step)

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
        self._control.poll()
        if self._control.tune is not None:
            self._tuner.ask(self._control.tune, self._config, self.step)
            self._control.tune = None
        if self._control.checkpoint:
            self._control.checkpoint = False
            self._save_within("requested")
        elif self._checkpoint_due():
            self._save_within("last")
        if self._control.paused:
            self._control.wait_while_paused(self._reporter.phase, Phase.TRAINING)
            self._skip()

    def _checkpoint_due(self) -> bool:
        every = self._config.checkpoint.checkpoint_steps
        return bool(every) and self.step // every > self._saver.saved_step // every

    def _end_epoch(self, seconds: float, images: int) -> None:
        where = self._position
        self._reporter.send(
            EpochEnded(
                epoch=where.epoch,
                step=where.step,
                seconds=seconds,
                images_per_second=images / seconds,
                train_loss=self._meter.take_epoch(),
            )
        )
        where.epoch += 1
        last = where.step >= self._schedule.total_steps
        every = self._config.checkpoint.validate_epochs
        where.unvalidated = self._validation is not None and (last or where.epoch % every == 0)
        self._close_epoch()

    def _close_epoch(self) -> None:
        """Try the model if that is due, and save it; after a stop in the midst of it, again where the run goes on."""
        where, settings = self._position, self._config.checkpoint
        best = False
        if self._validation is not None and where.unvalidated:
            # One that is cut off and done again would leave other numbers to the training.
            with generators.kept(devices=True):
                best = self._validation.judge(self._stepper, where)
        if settings.early_stop and where.worse >= settings.early_stop:
            best_yet = f"{self._task.metric} {where.best:.4g}"
            self._early = f"ended early: {where.worse} validations in a row were no better than {best_yet}"
        every = settings.checkpoint_epochs
        if best or (every and where.epoch % every == 0 and not self._control.stop):
            self._save("best" if best else "last")

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
        self._saver.save(kind, where, lambda: position.state_of(where, self._config, self._images, self._stepper))
