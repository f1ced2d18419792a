"""Limits the norm of the gradients, also of gradients that are divided among ranks."""

from __future__ import annotations

import torch
from torch import nn

from gputrain.engine.training.distributed.divided_tensor import whole
from gputrain.engine.training.distributed.process_group import collective_errors


def clip_gradients(network: nn.Module, limit: float) -> torch.Tensor:
    """Scale the gradients so that their norm is at most `limit`; returns the norm before. Raises RankLostError."""
    with collective_errors():
        norm = nn.utils.clip_grad_norm_(network.parameters(), limit)
    return whole(norm)
