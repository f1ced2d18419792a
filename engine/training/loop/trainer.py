"""The PyTorch training loop of a run, on one device, alone or as one of several ranks.

What both engines share is in `shared_loop.training_loop`; here is how an epoch runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch

from gputrain.engine.checkpointing.checkpoint_saver import Kind
from gputrain.engine.checkpointing.resume_position import ResumePosition, resumed_position
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets.bad_image_list import BadImages
from gputrain.engine.events import Phase
from gputrain.engine.processes import compile_cache
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.shared_loop.live_tuning import LiveTuner
from gputrain.engine.shared_loop.training_loop import TrainingLoop
from gputrain.engine.training.distributed.process_group import SingleProcess
from gputrain.engine.training.loop.build_trainer import build_parts
from gputrain.engine.training.loop.model_report import model_ready
from gputrain.engine.training.loop.prepare_checkpoint import prepare_state
from gputrain.engine.training.loop.requested_trace import RequestedTrace
from gputrain.engine.training.models import input_config
from gputrain.engine.training.optim.step_failures import (
    Failure,
    RepeatInParts,
    classify_failure,
    raise_unless_repeatable,
)
from gputrain.engine.training.runtime import rng_state
from gputrain.engine.training.state import torch_checkpoint, training_state
from gputrain.engine.training.transforms.device_transforms import DeviceBatch


@dataclass(frozen=True, slots=True)
class _Group:
    """The batches of one update."""

    batches: Iterator[DeviceBatch]
    """This rank's."""
    own: int
    """Their number."""
    in_steps: Sequence[int]
    """Batches of all ranks in each step; the last step of an epoch may have fewer than there are ranks."""


class Trainer(TrainingLoop):
    """One PyTorch run on one device."""

    def __init__(
        self,
        directory: Path,
        config: RunConfig,
        reporter: EventReporter,
        control: TrainerControl,
        ranks: SingleProcess | None = None,
    ) -> None:
        """`ranks`: the process group of a run with several ranks, each of which has a Trainer; None: one process."""
        self._ranks = ranks or SingleProcess()
        folder = directory / "checkpoints"
        together = config.distributed.sharding == "full" and self._ranks.count > 1
        writes = self._ranks.is_main_process
        saver = torch_checkpoint.saver(folder, config.checkpoint, reporter, writes=writes, together=together)
        self._folder = folder
        super().__init__(config, reporter, control, BadImages(directory, reporter), saver)
        self._tuner = LiveTuner(reporter)
        self._retune_now = False
        """All ranks change their data loading settings before the next update."""

    # Before the first step.

    def _build(self, stack: contextlib.ExitStack) -> None:
        # Mean, std and interpolation of the weights belong to the checkpoints of this run.
        config = self._config = self._with_normalization(self._config)
        parts = build_parts(config, self._ranks, self._reporter, self._control, self._bad_images, stack)
        self._compute, self._images, self._growth = parts.compute, parts.images, parts.growth
        self._clock, self._stepper, self._supply = parts.clock, parts.stepper, parts.supply
        self._validation, self._schedule, self._nonfinite = parts.validation, parts.schedule, parts.nonfinite
        self._meter, self._windows = parts.meter, parts.windows
        self._epoch_loss, self._metric = parts.meter.epoch, parts.task.metric
        self._validates = parts.validation is not None
        self._trace = RequestedTrace(self._reporter, self._clock)
        self._tuner.epoch_updates = -(-len(self._supply) // config.optim.accumulation_steps)
        if config.resume_from:
            self._resume()
        self._ready = model_ready(config, self._compute, self._stepper, self._schedule, parts.flops, self.step)
        self._reporter.send(self._ready)

    def _with_normalization(self, config: RunConfig) -> RunConfig:
        if config.resume_from and config.model.weights and input_config.is_open(config):
            stored = torch_checkpoint.load(config.resume_from, lambda text: None, whole=False)
            return input_config.of_checkpoint(config, stored)
        return input_config.resolve(config)

    def _load_checkpoint(self, warn: Callable[[str], None]) -> dict[str, Any]:
        return torch_checkpoint.load(self._config.resume_from, warn, whole=self._stepper.sharded is None)

    def _restore(self, state: dict[str, Any]) -> ResumePosition:
        training_state.restore_order(state, self._images)
        training_state.restore(state, self._stepper)
        if not training_state.restore_generators(state, self._ranks.rank, self._ranks.count):
            rng_state.seed(self._config.seed + self._ranks.rank + state["position"]["step"])
        samples = len(self._images) // self._images.group
        position = resumed_position(ResumePosition(**state["position"]), state["settings"], self._config, samples)
        self._schedule.go_on(position)
        return position

    # An epoch.

    def _compile_key(self) -> str | None:
        if not self._config.speed.compile or self.step:
            return None
        return compile_cache.key(self._config, self._compute.precision, self._compute.device.type)

    def _train_epoch(self) -> None:
        self._stepper.network.train()
        self._windows.new_epoch(self._growth, self._position.epoch)
        self._training = False
        self._clock.new_epoch()
        self._skip()
        while (recover := self._train_batches()) is not None:
            recover()
        self._windows.report(self._position, self._lr, force=True)
        self._trace.end("the epoch ended")
        if self._position.batch >= len(self._supply):
            self._position.batch = 0

    def _train_batches(self) -> Callable[[], None] | None:
        """Train from the present batch on. Returns what to do before training goes on, None at the end."""
        batches = self._supply.batches(self._position.epoch, self._position.batch, self._clock)
        try:
            for group in self._groups(batches):
                if (recover := self._update(group)) is not None:
                    return recover
                self._between_updates()
                if self._done():
                    break
                if self._retune_now:
                    return self._retune
        finally:
            batches.close()
        return None

    def _groups(self, batches: Iterator[DeviceBatch]) -> Iterator[_Group]:
        """The batches of each update; the last update of an epoch may have fewer."""
        while (left := len(self._supply) - self._position.batch) > 0:
            steps = range(min(self._config.optim.accumulation_steps, left))
            in_steps = [self._supply.batches_in(self._position.batch + step) for step in steps]
            own = sum(count > self._ranks.rank for count in in_steps)
            yield _Group((next(batches) for _ in range(own)), own, in_steps)

    def _update(self, group: _Group) -> Callable[[], None] | None:
        """Do one update. After a failure all is as before it; returns what to do before it is repeated."""
        before = dataclasses.replace(self._position)
        lr = self._schedule.lr_at(before.updates)
        failure = Failure.NONE
        try:
            self._backward(group)
        except (torch.OutOfMemoryError, RepeatInParts) as error:
            raise_unless_repeatable(error, sharded=self._stepper.sharded is not None)
            failure = classify_failure(error)
        failure = self._synchronize(failure, group.in_steps)
        if failure is Failure.NONE:
            try:
                self._stepper.update(lr, before.updates + 1)
            except torch.OutOfMemoryError as error:
                failure = classify_failure(error)
        if failure is not Failure.NONE:
            self._windows.undo(self.step - before.step, self._position.images - before.images)
            self._position = before
            return self._discard_update if failure is Failure.REPEAT else lambda: self._stepper.divide(self.step)
        self._lr = lr
        self._position.updates += 1
        self._windows.update_done(self._stepper.skipped)
        return None

    def _backward(self, group: _Group) -> None:
        """The gradients of this rank's batches: the mean over all batches of the update, once averaged over ranks."""
        share = self._ranks.count / sum(group.in_steps)
        # With divided weights a rank without a batch in the last step takes part in it.
        last = group.own if self._stepper.sharded is None else len(group.in_steps)
        for number, batch in enumerate(group.batches, 1):
            with self._clock.computing("prepare"):
                prepared = self._supply.feed.prepare(batch)
            loss = self._stepper.backward(prepared, share, last=number == last)
            self._step_done(loss, group.in_steps[number - 1], batch)
        if group.own < len(group.in_steps):
            self._step_done(self._stepper.no_batch(), group.in_steps[-1], None)

    def _step_done(self, loss: torch.Tensor, batches: int, batch: DeviceBatch | None) -> None:
        images = self._supply.batch_images
        self._position.batch += 1
        self._position.step += 1
        if self._ranks.board is not None:
            self._ranks.board.step = self._position.step
        self._position.images += batches * images
        self._windows.step_done(loss, self.step, batches, batch, images)

    def _synchronize(self, failure: Failure, batches: Sequence[int]) -> Failure:
        """All-reduce gradients and requests over the ranks; returns the worst failure of any rank.

        `batches`: of all ranks in each step of the update.
        """
        if self._ranks.count == 1:
            return failure
        self._stepper.exchange()
        self._control.poll()
        worst, retune = self._control.all_reduce_requests(self._ranks, failure, bool(self._tuner.pending))
        if not worst:
            self._stepper.exchange_losses(batches)
        if retune:
            self._tuner.pending = self._ranks.broadcast_object(self._tuner.pending)
            self._retune_now = True
        return Failure(worst)

    def _discard_update(self) -> None:
        self._stepper.give_up()
        self._skip()

    def _retune(self) -> None:
        """Replace the data loader. The new one starts at the next batch and delivers the same batches."""
        self._retune_now = False
        before = self._config
        self._end_window()
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
            # The first update of an epoch is done: the queue is filled, the graph is compiled.
            self._training = True
            self._reporter.phase(Phase.TRAINING)
        if self._ready.compiled and not self._stepper.compiled:
            self._ready = msgspec.structs.replace(self._ready, compiled=False, start_step=self.step)
            self._reporter.send(self._ready)
        self._windows.report(self._position, self._lr)
        if self._control.profile is not None or self._trace.recording:
            self._record_step()
        self._tuner.update_done(self._position.images, self.step)
        if self._ranks.count == 1:
            self._control.poll()
        if self._control.tune is not None:
            self._tuner.ask(self._control.tune, self._config, self.step)
            self._control.tune = None
        if self._ranks.count == 1:
            self._retune_now = bool(self._tuner.pending)
        self._save_if_due()
        if self._control.paused:
            self._trace.end("the run was paused")
            self._end_window()
            if self._ranks.is_main_process:
                self._control.wait_while_paused(self._reporter.phase, Phase.TRAINING)
            else:
                self._control.paused = False
            self._control.all_reduce_requests(self._ranks)
            self._skip()

    def _record_step(self) -> None:
        """Go on with a trace that was asked for. The time that its begin and its end take is no step's."""
        request = self._control.profile if self._position.batch < len(self._supply) else None
        if request is not None:
            self._control.profile = None
        elif not self._trace.recording or not self._trace.step_done():
            return
        self._end_window()
        if request is not None:
            self._trace.begin(request)
        else:
            self._trace.end()
        self._skip()

    def _save_within(self, kind: Kind) -> None:
        self._end_window()
        super()._save_within(kind)

    def _end_window(self) -> None:
        """Report the steps so far, before the time that `_skip` leaves out: that would raise their rate."""
        self._windows.report(self._position, self._lr, force=True)

    def _validate(self) -> bool:
        assert self._validation is not None
        # The generators continue as if there had been no validation: an interrupted one is done again at resume.
        with rng_state.preserved_rng(devices=True):
            best = self._validation.validate(self._stepper, self._position)
        self._control.all_reduce_requests(self._ranks)
        return best

    def _skip(self) -> None:
        self._windows.skip()
        self._tuner.skip()

    def _fetch_losses(self) -> None:
        self._meter.fetch_all()

    def _prepare_state(self) -> Callable[[], dict[str, Any]]:
        where = self._position
        folder = None
        if self._stepper.sharded is not None and self._ranks.broadcast_object(self._saver.is_due(where)):
            folder = self._folder
        return prepare_state(where, self._config, self._images, self._stepper, self._ranks, folder)

    def _leave(self) -> None:
        self._ranks.leave()
