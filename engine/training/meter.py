"""The training loss, fetched from the device without a synchronisation in each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from gputrain.engine.training.device import Compute

_IMAGES_NAMED = 3


class Diverged(RuntimeError):  # noqa: N818 - reads as what it is
    """The loss is no longer a number."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A step whose loss is on the device."""

    loss: torch.Tensor
    number: int
    """The step's number, from 1."""
    indices: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Reading:
    """Figures that have come from the device."""

    loss: float
    """Mean of the steps since the reading before."""
    grad_norm: float | None
    loss_scale: float | None


@dataclass(frozen=True, slots=True)
class _Flight:
    """Figures on their way to the host: the losses of `steps`, then the `extras`."""

    values: torch.Tensor
    arrived: torch.cuda.Event | None
    steps: Sequence[_Step]
    extras: Sequence[str]


class Meter:
    """Losses of steps, with the newest gradient norm and loss scale beside them."""

    def __init__(self, compute: Compute, name: Callable[[int], str]) -> None:
        """`name` tells a person which image an index stands for."""
        self._gpu = compute.is_gpu
        self._name = name
        self._steps: list[_Step] = []
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

    def note(self, grad_norm: torch.Tensor | None, loss_scale: torch.Tensor | None) -> None:
        """Keep the figures of an update, to be fetched with the next losses."""
        found = {"grad_norm": grad_norm, "loss_scale": loss_scale}
        self._extras = {name: value for name, value in found.items() if value is not None}

    def take(self, *, wait: bool = False) -> Reading | None:
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
        steps, extras, self._steps = self._steps, self._extras, []
        values = torch.stack([step.loss.detach().float() for step in steps] + [v.float() for v in extras.values()])
        if not self._gpu:
            return _Flight(values, None, steps, tuple(extras))
        host = torch.empty(len(values), pin_memory=True)
        host.copy_(values, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return _Flight(host, arrived, steps, tuple(extras))

    def _settle(self, flight: _Flight) -> Reading:
        values: list[float] = flight.values.tolist()
        losses = values[: len(flight.steps)]
        for step, loss in zip(flight.steps, losses, strict=True):
            if not math.isfinite(loss):
                raise Diverged(self._diverged(step, loss))
            self.epoch_sum += loss
            self.epoch_steps += 1
        extras = dict(zip(flight.extras, values[len(losses) :], strict=True))
        return Reading(sum(losses) / len(losses), extras.get("grad_norm"), extras.get("loss_scale"))

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

    def _diverged(self, step: _Step, loss: float) -> str:
        named = ", ".join(self._name(int(index)) for index in step.indices[:_IMAGES_NAMED])
        more = f" and {len(step.indices) - _IMAGES_NAMED} more" if len(step.indices) > _IMAGES_NAMED else ""
        return (
            f"the loss is {loss} at step {step.number}, on {named}{more}; "
            "lower lr, clip gradients (clip_grad_norm=1), or use precision=bf16 or fp32"
        )
