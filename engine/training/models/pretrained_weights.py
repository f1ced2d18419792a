"""Weights to start from: a file, or what torchvision and timm have for their models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.model_catalog import torchvision_models

_WRAPPINGS = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before the names of their network's weights."""


def load_file(network: nn.Module, path: Path) -> None:
    """Take over a file of weights: a state dict, or a checkpoint of ours. Raises BadInput."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - torch.load raises whatever its unpickler meets in a foreign file
        raise BadInput(f"weights: {path} is not a file of weights: {plain(str(error), 200)}") from None
    if isinstance(state, dict):
        # One of our own checkpoints: the average was validated, where there is one. Others say state_dict.
        state = state.get("ema") or state.get("model") or state.get("state_dict") or state
    if not isinstance(state, dict):
        raise BadInput(f"weights: {path} holds a {type(state).__name__}, not weights by name")
    load_matching(network, {_unwrapped(str(name)): value for name, value in state.items()}, str(path))


def _unwrapped(name: str) -> str:
    for wrapping in _WRAPPINGS:
        name = name.removeprefix(wrapping)
    return name


def torchvision_weights(model: str, weights: str) -> dict[str, Any]:
    """Torchvision's weights called `weights` for its `model`, downloaded unless they are there. Raises BadInput."""
    known = models.get_model_weights(model)
    names = tuple(member.name for member in known)
    # ResNet50_Weights.DEFAULT is how the documentation writes it.
    wanted = weights.removeprefix(f"{known.__name__}.")
    if wanted not in known.__members__:
        raise BadInput(torchvision_models.unknown_weights(model, weights, names))
    chosen = known[wanted]
    try:
        state: dict[str, Any] = chosen.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise BadInput(
            f"weights: {plain(weights, 100)} cannot be downloaded ({plain(str(error), 200)}); "
            f"download {chosen.url} elsewhere and name the file: weights=/path/to/file.pth"
        ) from None
    return state


def load_matching(network: nn.Module, state: dict[str, Any], source: str) -> None:
    """Load what fits; a classifier for another number of classes is left as it is. Raises BadInput if little fits."""
    own = network.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and getattr(v, "shape", None) == own[k].shape}
    if len(fitting) < 0.5 * len(own):
        raise BadInput(f"weights: {source} fits {len(fitting)} of the model's {len(own)} tensors: another model's?")
    network.load_state_dict({**own, **fitting})
