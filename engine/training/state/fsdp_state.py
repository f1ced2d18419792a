"""The tensors of a training whose weights are divided among ranks: for `checkpoint_shards`, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

from gputrain.engine.training.distributed import checkpoint_shards
from gputrain.engine.training.distributed.checkpoint_shards import Tensors


def tensors_of(network: nn.Module, ema: nn.Module | None, optimizer: torch.optim.Optimizer) -> Tensors:
    """Weights, EMA and optimizer state, in the memory of the training."""
    found: Tensors = {"model": network.state_dict()}
    if ema is not None:
        found["ema"] = ema.state_dict()
    states = optimizer.state_dict()["state"]
    found["optimizer"] = {
        str(number): {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}
        for number, values in states.items()
    }
    return {name: tensors for name, tensors in found.items() if tensors}


def from_shards(
    folder: Path, groups: list[Any], network: nn.Module, ema: nn.Module | None, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Load weights and EMA from a folder of shards; returns the optimizer's state, with the parameter `groups` given.

    All ranks call it. Raises BadInput and RankLostError.
    """
    stored = checkpoint_shards.outline(folder)
    wanted: Tensors = {"model": network.state_dict()}
    averaged = any(path[0] == "ema" for path in stored)
    if ema is not None and averaged:
        wanted["ema"] = ema.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states: Tensors = {}
    for (kind, number, *names), (size, dtype) in ((path, what) for path, what in stored.items() if len(path) == 3):
        if kind == "optimizer":
            states.setdefault(number, {})[names[0]] = _like(parameters[int(number)], size, dtype)
    if states:
        wanted["optimizer"] = states
    checkpoint_shards.load_into(folder, wanted)
    if ema is not None and not averaged:
        ema.load_state_dict(network.state_dict())
    return {"state": {int(number): values for number, values in states.items()}, "param_groups": groups}


def _like(parameter: torch.Tensor, size: torch.Size, dtype: torch.dtype) -> torch.Tensor:
    """A tensor for a part of a parameter's optimizer state, divided as the parameter is."""
    if size == parameter.shape:
        return torch.zeros_like(parameter, dtype=dtype, requires_grad=False)
    return torch.zeros(size, dtype=dtype)


def load_divided(module: nn.Module, values: dict[str, torch.Tensor]) -> None:
    """Load a plain state dict into a module whose weights are divided. Every rank has all `values`."""
    targets = module.state_dict()
    module.load_state_dict({name: _divided(value, targets.get(name)) for name, value in values.items()})


def divided_optimizer_state(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A plain optimizer state, divided as the parameters of `optimizer` are."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states = {
        number: {name: _divided(value, parameters[number]) for name, value in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": states}


def _divided(value: Any, like: torch.Tensor | None) -> Any:
    if not isinstance(value, torch.Tensor) or not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    # Every rank takes its part of what it has; nothing is sent.
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
