"""The training of a run on one device, from the data to the last checkpoint. Reads from `Trainer.train` downwards."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from gputrain.engine.config import RunConfig
from gputrain.engine.events import (
    EpochEnded,
    ModelReady,
    Outcome,
    Phase,
    RunEnded,
    Validated,
)
from gputrain.engine.training import checkpoint, data, device, model, optim, position, schedule
from gputrain.engine.training.control import Control
from gputrain.engine.training.device_augment import DeviceBatch, Feed
from gputrain.engine.training.loader import Loader, make_loader
from gputrain.engine.training.position import Position
from gputrain.engine.training.reporter import Reporter
from gputrain.engine.training.saving import Kind, Saver
from gputrain.engine.training.validate import METRIC, validate
from gputrain.engine.training.windows import Windows


class Trainer:
    """One run on one device."""

    def __init__(self, directory: Path, config: RunConfig, reporter: Reporter, control: Control) -> None:
        self._config = config
        self._reporter = reporter
        self._control = control
        self._saver = Saver(directory / "checkpoints", config.checkpoint.keep_last, reporter)
        self._position = Position()

    def train(self) -> RunEnded:
        """Train to the end, or to where the run is asked to stop. Raises BadInput, and whatever else goes wrong."""
        self._build()
        try:
            self._train_epochs()
            if self._control.stop != "now":
                self._save("final")
        finally:
            self._train_loader.close()
            if self._val_loader is not None:
                self._val_loader.close()
        if self._control.stop:
            return RunEnded(outcome=Outcome.STOPPED, reason=self._control.reason, step=self._position.step)
        return RunEnded(outcome=Outcome.FINISHED, reason="all steps are done", step=self._position.step)

    # What is made before the first step.

    def _build(self) -> None:
        config = self._config
        self._compute = device.set_up(config, self._reporter.notice)
        images = data.prepare(config, self._reporter, self._control)
        self._classes = images.train.classes
        self._reporter.phase(Phase.BUILDING, config.model.model)
        self._network = model.build(config, len(self._classes), self._compute)
        self._forward = self._compiled() if config.speed.compile else self._network
        self._optimizer = optim.make_optimizer(self._network, config)
        self._scaler = torch.amp.GradScaler(
            self._compute.device.type, enabled=self._compute.is_gpu and self._compute.precision == "fp16"
        )
        self._control.raise_if_stopped()
        pin = config.data.pin_memory and self._compute.is_gpu
        self._train_loader = make_loader(images.train, config, train=True, pin=pin)
        self._val_loader = make_loader(images.val, config, train=False, pin=pin) if images.val is not None else None
        for loader in filter(None, (self._train_loader, self._val_loader)):
            if loader.note:
                self._reporter.notice("info", loader.note)
        self._plan_updates()
        self._feed = Feed(config, self._compute, train=True)
        self._val_feed = Feed(config, self._compute, train=False)
        self._windows = Windows(self._reporter, self._train_loader, self._compute)
        if config.resume_from:
            self._resume()
        self._tell_model()

    def _compiled(self) -> Callable[[torch.Tensor], torch.Tensor]:
        def failed(why: str) -> None:
            self._reporter.notice("warning", f"torch.compile failed, going on without it: {why}")

        return model.compiled(self._network, self._config.speed.compile_mode, failed)

    def _plan_updates(self) -> None:
        optim_config, loader = self._config.optim, self._train_loader
        self._accumulation = optim_config.accumulation_steps
        per_epoch = math.ceil(len(loader) / self._accumulation)
        self._total_steps = len(loader) * self._config.epochs
        if self._config.max_steps:
            self._total_steps = min(self._total_steps, self._config.max_steps)
        self._total_updates = math.ceil(self._total_steps / len(loader) * per_epoch)
        self._warmup = round(optim_config.warmup_epochs * per_epoch)
        batch_size = self._config.data.batch_size
        self._peak = schedule.peak_lr(optim_config, batch_size * self._accumulation)
        self._lr = self._peak

    def _resume(self) -> None:
        state = checkpoint.load(self._config.resume_from, lambda text: self._reporter.notice("warning", text))
        self._position = position.restore(
            state, self._config, self._classes, self._network, self._optimizer, self._scaler
        )
        losses = self._windows.losses
        losses.epoch_sum, losses.epoch_steps = self._position.loss_sum, self._position.loss_steps
        self._saver.saved_step = self._position.step
        where = f"step {self._position.step} (epoch {self._position.epoch + 1})"
        self._reporter.notice("info", f"going on from {where} of {self._config.resume_from}")

    def _tell_model(self) -> None:
        compute = self._compute
        self._reporter.send(
            ModelReady(
                model=self._config.model.model,
                parameters=model.parameter_count(self._network),
                device=str(compute.device),
                device_name=compute.name,
                precision=compute.precision,
                channels_last=self._config.speed.channels_last,
                compiled=self._config.speed.compile,
                optimizer=self._config.optim.optimizer,
                total_steps=self._total_steps,
                total_updates=self._total_updates,
                start_step=self._position.step,
                torch_version=str(torch.__version__),
                cuda_version=torch.version.cuda or "",
                trainer_pid=os.getpid(),
            )
        )

    # The loop.

    def _train_epochs(self) -> None:
        while not self._done():
            self._reporter.phase(Phase.COMPILING if self._compiles_now() else Phase.WARMING_UP)
            began, first_image = time.perf_counter(), self._position.images
            self._train_epoch()
            if self._position.batch:
                # In mid-epoch: the run was asked to stop, or has done its max_steps.
                return
            self._end_epoch(time.perf_counter() - began, self._position.images - first_image)

    def _done(self) -> bool:
        return bool(self._control.stop) or self._position.step >= self._total_steps

    def _compiles_now(self) -> bool:
        return self._config.speed.compile and self._position.step == 0

    def _train_epoch(self) -> None:
        """Train on what is left of the present epoch; leaves `position.batch` at 0 if that was all of it."""
        self._network.train()
        self._training = False
        self._windows.clock.new_epoch()
        self._windows.skip()
        where = self._position
        source = self._train_loader.epoch(where.epoch, where.batch)
        batches = self._feed.batches(source, self._windows.clock)
        try:
            for group in self._groups(batches):
                self._update(group)
                self._between_updates()
                if self._done():
                    break
        finally:
            batches.close()
        self._windows.report(where, self._lr, self._scale(), force=True)
        if where.batch >= len(self._train_loader):
            where.batch = 0

    def _groups(self, batches: Iterator[DeviceBatch]) -> Iterator[tuple[Iterator[DeviceBatch], int]]:
        """The batches of each update, and how many they are: the last group of an epoch may be smaller."""
        while (left := len(self._train_loader) - self._position.batch) > 0:
            size = min(self._accumulation, left)
            yield (next(batches) for _ in range(size)), size

    def _update(self, group: tuple[Iterator[DeviceBatch], int]) -> None:
        batches, size = group
        clock = self._windows.clock
        self._lr = schedule.lr_at(
            self._position.updates, self._total_updates, self._warmup, self._config.optim, self._peak
        )
        for parameters in self._optimizer.param_groups:
            parameters["lr"] = self._lr
        for batch in batches:
            with clock.computing():
                loss = self._backward(batch, size)
            self._position.batch += 1
            self._position.step += 1
            self._position.images += len(batch.labels)
            self._windows.step_done(loss, len(batch.labels), batch.bytes)
        with clock.computing():
            self._step_optimizer()
        self._position.updates += 1

    def _backward(self, batch: DeviceBatch, size: int) -> torch.Tensor:
        images = self._feed.prepare(batch)
        with self._compute.autocast():
            scores = self._forward(images)
            loss = functional.cross_entropy(scores, batch.labels, label_smoothing=self._config.optim.label_smoothing)
        self._scaler.scale(loss / size).backward()
        return loss

    def _step_optimizer(self) -> None:
        if self._config.optim.clip_grad_norm:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._network.parameters(), self._config.optim.clip_grad_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=self._config.speed.set_to_none)

    def _between_updates(self) -> None:
        if not self._training:
            # The first update of an epoch is through: the queue was filled, the graph compiled.
            self._training = True
            self._reporter.phase(Phase.TRAINING)
        self._windows.report(self._position, self._lr, self._scale())
        self._control.poll()
        every = self._config.checkpoint.checkpoint_steps
        crossed = every and self._position.step // every > (self._position.step - self._accumulation) // every
        if self._control.checkpoint:
            self._control.checkpoint = False
            self._save_within("requested")
        elif crossed:
            self._save_within("last")
        if self._control.paused:
            self._control.wait_while_paused(self._reporter.phase)
            self._windows.skip()

    def _end_epoch(self, seconds: float, images: int) -> None:
        where = self._position
        loss = self._windows.losses.take_epoch()
        self._reporter.send(
            EpochEnded(
                epoch=where.epoch,
                step=where.step,
                seconds=seconds,
                images_per_second=images / seconds,
                train_loss=loss if loss is not None and math.isfinite(loss) else None,
            )
        )
        epoch = where.epoch
        where.epoch += 1
        last = where.step >= self._total_steps
        best = False
        if self._val_loader is not None and (last or where.epoch % self._config.checkpoint.validate_epochs == 0):
            best = self._validate(epoch, self._val_loader)
        every = self._config.checkpoint.checkpoint_epochs
        if best or (every and where.epoch % every == 0 and not self._control.stop):
            self._save("best" if best else "last")

    def _validate(self, epoch: int, loader: Loader) -> bool:
        """Try the model; returns whether it was never better."""
        self._reporter.phase(Phase.VALIDATING)
        began = time.perf_counter()
        found = validate(
            self._network,
            loader,
            self._val_feed,
            self._compute,
            self._control,
            lambda done, total: self._reporter.progress(done, total, "batches"),
        )
        if found is None:
            return False
        metrics, images = found
        best = self._position.best is None or metrics[METRIC] > self._position.best
        if best:
            self._position.best = metrics[METRIC]
        self._reporter.send(
            Validated(
                epoch=epoch,
                step=self._position.step,
                metrics=metrics,
                metric=METRIC,
                best=best,
                images=images,
                seconds=time.perf_counter() - began,
            )
        )
        return best

    def _save_within(self, kind: Kind) -> None:
        self._save(kind)
        self._reporter.phase(Phase.TRAINING)
        self._windows.skip()

    def _save(self, kind: Kind) -> None:
        where, losses = self._position, self._windows.losses
        if where.batch:
            losses.take(wait=True)
        where.loss_sum, where.loss_steps = losses.epoch_sum, losses.epoch_steps
        self._saver.save(
            kind,
            where,
            lambda: position.state_of(where, self._config, self._classes, self._network, self._optimizer, self._scaler),
        )

    def _scale(self) -> float | None:
        # get_scale reads the device; without a scaler there is nothing to read.
        return self._scaler.get_scale() if self._scaler.is_enabled() else None
