"""A second copy of the weights that follows the trained ones slowly: an exponential moving average."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Ema:
    """The average of a network's weights and buffers; what is validated and kept in its place.

    The decay rises from 0.1 towards its setting as (1 + n) / (10 + n) after n updates (TensorFlow's
    ExponentialMovingAverage), so that the first, random weights are soon forgotten. A function of n alone: a
    resumed run has the same average.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay

    def update(self, network: nn.Module, updates: int, skip: torch.Tensor | None = None) -> None:
        """Take in the weights after update number `updates` (from 1); unless `skip`, a bool on the device, is true."""
        average = get_ema_multi_avg_fn(min(self._decay, (1 + updates) / (10 + updates)))
        mine, theirs = _floats(self.network), _floats(network)
        if skip is not None:
            # An average of a figure and itself is that figure, to the bit.
            theirs = [torch.where(skip, own, other) for own, other in zip(mine, theirs, strict=True)]
        average(mine, theirs, 0)
        with torch.no_grad():
            for own, other in zip(self.network.buffers(), network.buffers(), strict=True):
                if not own.is_floating_point():
                    own.copy_(other)


def _floats(network: nn.Module) -> list[torch.Tensor]:
    tensors: Iterable[torch.Tensor] = (*network.parameters(), *network.buffers())
    return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]
