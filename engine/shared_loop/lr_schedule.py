"""Learning-rate schedule: a pure function of the update's number, so that a resumed run has the same rates."""

from __future__ import annotations

import math

from gputrain.engine.checkpointing.resume_position import ResumePosition
from gputrain.engine.configuration.lr_scaling import scaled_lr
from gputrain.engine.configuration.setting_definitions import OptimConfig, RunConfig

_ONE_CYCLE_RISE = 0.25
"""Share of a one-cycle schedule in which the rate rises (Smith, "Super-Convergence", 2018; fast.ai's default)."""
_ONE_CYCLE_START = 25.0
"""The peak over the first rate of a one-cycle schedule (fast.ai's and torch's default)."""


class LRSchedule:
    """Number of steps and updates of a run, and the learning rate of each update."""

    def __init__(self, config: RunConfig, batches_per_epoch: int) -> None:
        optim, group = config.optim, config.optim.accumulation_steps
        self._batches_per_epoch, self._group = batches_per_epoch, group
        self._epochs, self._max_steps = config.epochs, config.max_steps
        self.total_steps = batches_per_epoch * config.epochs
        if config.max_steps:
            self.total_steps = min(self.total_steps, config.max_steps)
        # The last update of an epoch may have fewer batches.
        epochs, rest = divmod(self.total_steps, batches_per_epoch)
        per_epoch = math.ceil(batches_per_epoch / group)
        self.total_updates = epochs * per_epoch + math.ceil(rest / group)
        self._optim = optim
        self._warmup = round(optim.warmup_epochs * per_epoch)
        self._peak = scaled_lr(optim.lr, optim.lr_batch_size, config.data.batch_size * group * config.devices)

    def go_on(self, position: ResumePosition) -> None:
        """Count steps and updates from those done: a run on another number of devices had other steps before."""
        per_epoch = self._batches_per_epoch
        if position.step == position.epoch * per_epoch + position.batch:
            return
        steps = (self._epochs - position.epoch) * per_epoch - position.batch
        self.total_steps = position.step + max(0, steps)
        if self._max_steps:
            self.total_steps = min(self.total_steps, max(self._max_steps, position.step))
        left = self.total_steps - position.step
        first = min(left, per_epoch - position.batch)
        epochs, rest = divmod(left - first, per_epoch)
        updates = [math.ceil(steps / self._group) for steps in (first, per_epoch, rest)]
        self.total_updates = position.updates + updates[0] + epochs * updates[1] + updates[2]

    def lr_at(self, update: int) -> float:
        """The learning rate of update number `update`, from 0."""
        return lr_at(update, self.total_updates, self._warmup, self._optim, self._peak)


def lr_at(update: int, total: int, warmup: int, optim: OptimConfig, peak: float) -> float:
    """Learning rate of update `update` (from 0) of `total`. It rises linearly to `peak` in the first `warmup`."""
    if update < warmup:
        return peak * (update + 1) / (warmup + 1)
    share = min(1.0, (update - warmup) / max(1, total - warmup))
    match optim.schedule:
        case "constant":
            return peak
        case "cosine":
            return peak * 0.5 * (1 + math.cos(math.pi * share))
        case "one_cycle":
            if share < _ONE_CYCLE_RISE:
                low = peak / _ONE_CYCLE_START
                return low + (peak - low) * 0.5 * (1 - math.cos(math.pi * share / _ONE_CYCLE_RISE))
            return peak * 0.5 * (1 + math.cos(math.pi * (share - _ONE_CYCLE_RISE) / (1 - _ONE_CYCLE_RISE)))
