"""Creates the optimizer: no weight decay for norms and biases, fused kernels where they exist."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.training.distributed.process_group import ProcessGroup, SingleProcess, collective_errors
from gputrain.engine.training.optim.lamb import Lamb

if TYPE_CHECKING:
    from torch.distributed.optim import ZeroRedundancyOptimizer


def make_optimizer(network: nn.Module, config: RunConfig, ranks: SingleProcess | None = None) -> torch.optim.Optimizer:
    """The optimizer of `config` over two groups: weights with decay; norms and biases without (He et al. 2019).

    With ``sharding: zero1`` each of `ranks` keeps the state of its share of the parameters (ZeroRedundancyOptimizer).
    """
    decayed = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": config.optim.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    kind, values = _kind(config)
    if kind is torch.optim.SGD and config.distributed.sharding == "full" and isinstance(ranks, ProcessGroup):
        # torch 2.14 has no fused kernel of SGD for divided weights.
        values["fused"] = None
    if config.distributed.sharding == "zero1" and isinstance(ranks, ProcessGroup):
        from torch.distributed.optim import ZeroRedundancyOptimizer  # takes a second: no other run waits for it

        groups = [group for group in groups if group["params"]]
        made: torch.optim.Optimizer = ZeroRedundancyOptimizer(groups, kind, process_group=ranks.devices, **values)
    else:
        made = kind(groups, **values)
    own = own_optimizer(made)
    if isinstance(own, torch.optim.SGD) and config.optim.momentum:
        _set_momentum(own)
    return made


def _kind(config: RunConfig) -> tuple[Any, dict[str, Any]]:
    """Class and settings of the optimizer."""
    lr, momentum, fused = config.optim.lr, config.optim.momentum, config.speed.fused_optimizer or None
    betas = (momentum, 0.999)
    match config.optim.optimizer:
        case "adamw":
            return torch.optim.AdamW, {"lr": lr, "betas": betas, "fused": fused}
        case "adam":
            return torch.optim.Adam, {"lr": lr, "betas": betas, "fused": fused}
        case "rmsprop":
            return torch.optim.RMSprop, {"lr": lr, "momentum": momentum}
        case "lamb":
            return Lamb, {"lr": lr, "betas": betas}
        case "sgd":
            return torch.optim.SGD, {"lr": lr, "momentum": momentum, "nesterov": momentum > 0, "fused": fused}


def own_optimizer(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimizer that updates this rank's share of the parameters: `optimizer` itself without sharding."""
    sharded = _sharded(optimizer)
    own: torch.optim.Optimizer = optimizer if sharded is None else sharded.optim
    return own


def _sharded(optimizer: torch.optim.Optimizer) -> ZeroRedundancyOptimizer | None:
    """`optimizer` if it is sharded; the module of its class is imported only then."""
    module = sys.modules.get("torch.distributed.optim")
    return optimizer if module is not None and isinstance(optimizer, module.ZeroRedundancyOptimizer) else None


def writes(optimizer: torch.optim.Optimizer) -> int:
    """Autograd's version counters of the weights and of each group's first optimizer state, added up.

    State that the update creates starts at 0.
    """
    count = 0
    for group in optimizer.param_groups:
        count += sum(parameter._version for parameter in group["params"])
        for first in group["params"][:1]:
            kept = optimizer.state.get(first, {}).values()
            count += sum(value._version for value in kept if isinstance(value, torch.Tensor))
    return count


def gather_state(optimizer: torch.optim.Optimizer) -> None:
    """Before `state_dict` on rank 0, on all ranks: bring the state of a sharded optimizer to rank 0."""
    if (sharded := _sharded(optimizer)) is not None:
        with collective_errors():
            sharded.consolidate_state_dict(to=0)


def _set_momentum(sgd: torch.optim.SGD) -> None:
    """Set the momentum buffers to 0, which gives the same first update.

    torch (2.15) otherwise allocates them uninitialised in the first update and leaves them so if the fused kernel skips
    that update for infinite gradients, as the search for an fp16 loss scale does.
    """
    for group in sgd.param_groups:
        for weight in group["params"]:
            sgd.state[weight]["momentum_buffer"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
