"""Creates the optimizer: no weight decay for norms and biases, fused kernels where they exist."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.training.optim.lamb import Lamb


def make_optimizer(network: nn.Module, config: RunConfig) -> torch.optim.Optimizer:
    """The optimizer of `config` over two groups: weights with decay; norms and biases without (He et al. 2019)."""
    decayed = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": config.optim.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    lr, momentum, fused = config.optim.lr, config.optim.momentum, config.speed.fused_optimizer or None
    betas = (momentum, 0.999)
    match config.optim.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=fused)
        case "adam":
            return torch.optim.Adam(groups, lr=lr, betas=betas, fused=fused)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=lr, momentum=momentum)
        case "lamb":
            return Lamb(groups, lr=lr, betas=betas)
        case "sgd":
            sgd = torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0, fused=fused)
            return _with_momentum(sgd) if momentum else sgd


def _with_momentum(sgd: torch.optim.SGD) -> torch.optim.SGD:
    """Set the momentum buffers to 0, which gives the same first update.

    torch (2.15) otherwise allocates them uninitialised in the first update and leaves them so if the fused kernel skips
    that update for infinite gradients, as the search for an fp16 loss scale does.
    """
    for group in sgd.param_groups:
        for weight in group["params"]:
            sgd.state[weight]["momentum_buffer"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
    return sgd
