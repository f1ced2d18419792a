"""The training loss, fetched from the device without a synchronisation in each step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from gputrain.engine.shared_loop.nonfinite_loss import DoneStep, NonFinitePolicy
from gputrain.engine.training.runtime.device import Compute


@dataclass(frozen=True, slots=True)
class _Step:
    """A step whose loss is on the device."""

    loss: torch.Tensor
    number: int
    """The step's number, from 1."""
    indices: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Update:
    """An update that may have been skipped; only the device knows yet."""

    skipped: torch.Tensor
    last: int
    """Number of its last step."""


@dataclass(frozen=True, slots=True)
class LossReading:
    """Figures that have come from the device."""

    loss: float | None
    """Mean of the steps since the reading before; None if no loss of theirs is a number."""
    grad_norm: float | None
    loss_scale: float | None


@dataclass(frozen=True, slots=True)
class _Flight:
    """Figures on their way to the host: the losses of `steps`, whether `updates` were skipped, the `extras`."""

    values: torch.Tensor
    arrived: torch.cuda.Event | None
    steps: Sequence[_Step]
    updates: Sequence[_Update]
    extras: Sequence[str]


class LossMeter:
    """Losses of steps, with the newest gradient norm and loss scale beside them."""

    def __init__(self, compute: Compute, skips: NonFinitePolicy) -> None:
        """`skips` judges the losses that are no numbers."""
        self._gpu = compute.is_gpu
        self._skips = skips
        self._steps: list[_Step] = []
        self._updates: list[_Update] = []
        self._extras: dict[str, torch.Tensor] = {}
        self._flight: _Flight | None = None
        self.epoch_sum = 0.0
        """Sum of the losses of this epoch's steps that have been fetched, and how many they are."""
        self.epoch_steps = 0

    def add(self, loss: torch.Tensor, number: int, indices: npt.NDArray[np.int64]) -> None:
        """Count a step's mean loss; `indices` are the images that it is of."""
        self._steps.append(_Step(loss, number, indices))

    def undo(self, steps: int) -> None:
        """Forget the last `steps`, none of which was fetched: they are done again."""
        if steps:
            del self._steps[-steps:]

    def update_done(self, skipped: torch.Tensor | None) -> None:
        """The steps since the update before made one; `skipped` stays on the device."""
        if skipped is not None:
            self._updates.append(_Update(skipped, self._steps[-1].number))

    def note(self, grad_norm: torch.Tensor | None, loss_scale: torch.Tensor | None) -> None:
        """Keep the figures of an update, to be fetched with the next losses."""
        found = {"grad_norm": grad_norm, "loss_scale": loss_scale}
        self._extras = {name: value for name, value in found.items() if value is not None}

    def take(self, *, wait: bool = False) -> LossReading | None:
        """Figures since the last reading; None if there are none, or the device has not got there yet.

        With `wait` the latter does not happen. Raises Diverged.
        """
        if self._flight is None and self._steps:
            self._flight = self._send()
        flight = self._flight
        if flight is None:
            return None
        if flight.arrived is not None:
            if not wait and not flight.arrived.query():
                return None
            flight.arrived.synchronize()
        self._flight = None
        return self._settle(flight)

    def _send(self) -> _Flight:
        steps, updates, extras = self._steps, self._updates, self._extras
        self._steps, self._updates = [], []
        sent = [step.loss.detach() for step in steps] + [update.skipped for update in updates] + [*extras.values()]
        values = torch.stack([value.float() for value in sent])
        if not self._gpu:
            return _Flight(values, None, steps, updates, tuple(extras))
        host = torch.empty(len(values), pin_memory=True)
        host.copy_(values, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return _Flight(host, arrived, steps, updates, tuple(extras))

    def _settle(self, flight: _Flight) -> LossReading:
        values: list[float] = flight.values.tolist()
        losses = values[: len(flight.steps)]
        extras = dict(zip(flight.extras, values[len(losses) + len(flight.updates) :], strict=True))
        found = [DoneStep(s.number, loss, s.indices) for s, loss in zip(flight.steps, losses, strict=True)]
        skipped = values[len(losses) : len(losses) + len(flight.updates)]
        self._judge(flight.updates, [bool(value) for value in skipped], found)
        good = [loss for loss in losses if math.isfinite(loss)]
        for loss in good:
            self.epoch_sum += loss
        self.epoch_steps += len(good)
        mean = sum(good) / len(good) if good else None
        return LossReading(mean, extras.get("grad_norm"), extras.get("loss_scale"))

    def _judge(self, updates: Sequence[_Update], skipped: Sequence[bool], steps: list[DoneStep]) -> None:
        """Raises Diverged at a loss that is no number; where such updates are skipped, at too many of them."""
        if not updates:
            self._skips.check(steps)
        begin = 0
        for update, was_skipped in zip(updates, skipped, strict=True):
            end = next((i for i in range(begin, len(steps)) if steps[i].number > update.last), len(steps))
            self._skips.update(steps[begin:end], skipped=was_skipped)
            begin = end

    def fetch_all(self) -> None:
        """Wait for all losses that are still on the device. Raises Diverged."""
        while self._steps or self._flight is not None:
            self.take(wait=True)

    def take_epoch(self) -> float | None:
        """Mean loss of the epoch's steps; waits for the device. Raises Diverged."""
        self.fetch_all()
        mean = self.epoch_sum / self.epoch_steps if self.epoch_steps else None
        self.epoch_sum, self.epoch_steps = 0.0, 0
        return mean
