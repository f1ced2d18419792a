"""Fetches training losses from the device without a synchronisation in each step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from gputrain.engine.shared_loop.epoch_loss import EpochLoss
from gputrain.engine.shared_loop.nonfinite_loss import DoneStep, NonFinitePolicy
from gputrain.engine.training.runtime.device import Compute


@dataclass(frozen=True, slots=True)
class _Step:
    """A step whose loss is on the device."""

    loss: torch.Tensor
    number: int
    """The step's number, from 1."""
    indices: npt.NDArray[np.int64]
    batches: int
    """Of all ranks."""


@dataclass(frozen=True, slots=True)
class _Update:
    """An update that may have been skipped; the flag is still on the device."""

    skipped: torch.Tensor
    last: int
    """Number of its last step."""


@dataclass(frozen=True, slots=True)
class LossReading:
    """Values fetched from the device."""

    loss: float | None
    """Mean loss of the steps since the last reading; None if all are NaN or Inf."""
    grad_norm: float | None
    loss_scale: float | None


@dataclass(frozen=True, slots=True)
class _Transfer:
    """A copy to the host that is under way: losses of `steps`, skip flags of `updates`, the `extras`."""

    values: torch.Tensor
    arrived: torch.cuda.Event | None
    steps: Sequence[_Step]
    updates: Sequence[_Update]
    extras: Sequence[str]


class LossMeter:
    """Losses of steps, with the newest gradient norm and loss scale."""

    def __init__(self, compute: Compute, nonfinite: NonFinitePolicy) -> None:
        """`nonfinite` handles NaN and Inf losses."""
        self._gpu = compute.is_gpu
        self._nonfinite = nonfinite
        self._steps: list[_Step] = []
        self._updates: list[_Update] = []
        self._extras: dict[str, torch.Tensor] = {}
        self._transfer: _Transfer | None = None
        self.epoch = EpochLoss()
        """Of the steps whose losses were fetched. NaN and Inf losses are left out."""

    def add(self, loss: torch.Tensor, number: int, indices: npt.NDArray[np.int64], batches: int = 1) -> None:
        """Add a step's mean loss over the `batches` of all ranks; `indices` are this rank's images."""
        self._steps.append(_Step(loss, number, indices, batches))

    def undo(self, steps: int) -> None:
        """Forget the last `steps`, which were not fetched yet and are repeated."""
        if steps:
            del self._steps[-steps:]

    def update_done(self, skipped: torch.Tensor | None) -> None:
        """The steps since the last update made one. `skipped` (bool) stays on the device."""
        if skipped is not None:
            self._updates.append(_Update(skipped, self._steps[-1].number))

    def note(self, grad_norm: torch.Tensor | None, loss_scale: torch.Tensor | None) -> None:
        """Keep gradient norm and loss scale of an update, to be fetched with the next losses."""
        found = {"grad_norm": grad_norm, "loss_scale": loss_scale}
        self._extras = {name: value for name, value in found.items() if value is not None}

    def take(self, *, wait: bool = False) -> LossReading | None:
        """Values since the last reading; None without new steps, or if the copy is not finished.

        `wait`: wait for the copy. Raises NonFiniteLossError.
        """
        if self._transfer is None and self._steps:
            self._transfer = self._send()
        transfer = self._transfer
        if transfer is None:
            return None
        if transfer.arrived is not None:
            if not wait and not transfer.arrived.query():
                return None
            transfer.arrived.synchronize()
        self._transfer = None
        return self._settle(transfer)

    def _send(self) -> _Transfer:
        steps, updates, extras = self._steps, self._updates, self._extras
        self._steps, self._updates = [], []
        sent = [step.loss.detach() for step in steps] + [update.skipped for update in updates] + [*extras.values()]
        values = torch.stack([value.float() for value in sent])
        if not self._gpu:
            return _Transfer(values, None, steps, updates, tuple(extras))
        host = torch.empty(len(values), pin_memory=True)
        host.copy_(values, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return _Transfer(host, arrived, steps, updates, tuple(extras))

    def _settle(self, transfer: _Transfer) -> LossReading:
        values: list[float] = transfer.values.tolist()
        losses = values[: len(transfer.steps)]
        extras = dict(zip(transfer.extras, values[len(losses) + len(transfer.updates) :], strict=True))
        found = [DoneStep(s.number, loss, s.indices) for s, loss in zip(transfer.steps, losses, strict=True)]
        skipped = values[len(losses) : len(losses) + len(transfer.updates)]
        self._check(transfer.updates, [bool(value) for value in skipped], found)
        good = [loss for loss in losses if math.isfinite(loss)]
        counted = [
            (loss, step.batches) for step, loss in zip(transfer.steps, losses, strict=True) if math.isfinite(loss)
        ]
        self.epoch.add((loss for loss, _ in counted), (batches for _, batches in counted))
        mean = sum(good) / len(good) if good else None
        return LossReading(mean, extras.get("grad_norm"), extras.get("loss_scale"))

    def _check(self, updates: Sequence[_Update], skipped: Sequence[bool], steps: list[DoneStep]) -> None:
        """Raises NonFiniteLossError for a NaN or Inf loss or, where such updates are skipped, for too many in a row."""
        if not updates:
            self._nonfinite.check(steps)
        begin = 0
        for update, was_skipped in zip(updates, skipped, strict=True):
            end = next((i for i in range(begin, len(steps)) if steps[i].number > update.last), len(steps))
            self._nonfinite.update(steps[begin:end], skipped=was_skipped)
            begin = end

    def fetch_all(self) -> None:
        """Wait for all losses that are still on the device. Raises NonFiniteLossError."""
        while self._steps or self._transfer is not None:
            self.take(wait=True)
