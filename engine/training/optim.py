"""Optimizers, with the decay kept away from what it harms and the update in one kernel where that exists."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gputrain.engine.config import RunConfig


def make_optimizer(network: nn.Module, config: RunConfig) -> torch.optim.Optimizer:
    """The optimizer of `config` over two groups: weights with decay; norms and biases without (He et al. 2019)."""
    decayed = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": config.optim.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    fused = config.speed.fused_optimizer or None
    if config.optim.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.optim.lr, betas=(config.optim.momentum, 0.999), fused=fused)
    nesterov = config.optim.momentum > 0
    return torch.optim.SGD(groups, lr=config.optim.lr, momentum=config.optim.momentum, nesterov=nesterov, fused=fused)
