"""EMA: an exponential moving average of the weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from gputrain.engine.training.distributed.divided_tensor import own_part


class Ema:
    """EMA of a network's weights and buffers; validation and export use it instead of the trained weights.

    The decay rises from 0.1 towards its setting as (1 + n) / (10 + n) after n updates (TensorFlow's
    ExponentialMovingAverage), so that the random initial weights lose their influence soon. It depends on n
    alone: a resumed run has the same average.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay

    def update(self, network: nn.Module, updates: int, skip: torch.Tensor | None = None) -> None:
        """Add the weights after update number `updates` (from 1), unless `skip` (a bool on the device) is true."""
        average = get_ema_multi_avg_fn(min(self._decay, (1 + updates) / (10 + updates)))
        ema, trained = _floats(self.network), _floats(network)
        if skip is not None:
            # The average of a value and itself is bit-identical to it.
            trained = [torch.where(skip, old, new) for old, new in zip(ema, trained, strict=True)]
        average(ema, trained, 0)
        with torch.no_grad():
            for old, new in zip(self.network.buffers(), network.buffers(), strict=True):
                if not old.is_floating_point():
                    old.copy_(new)


def _floats(network: nn.Module) -> list[torch.Tensor]:
    tensors: Iterable[torch.Tensor] = (*network.parameters(), *network.buffers())
    # With divided weights each rank averages its part.
    own = (own_part(tensor.detach()) for tensor in tensors if tensor.is_floating_point())
    return [tensor for tensor in own if tensor.numel()]
