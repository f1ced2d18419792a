"""Networks by name, with the run's number of classes, in the run's memory format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models

from gputrain.engine import settings
from gputrain.engine.config import RunConfig
from gputrain.engine.errors import BadInput, did_you_mean
from gputrain.engine.text import plain
from gputrain.engine.training.device import Compute
from gputrain.engine.training.simple_cnn import SimpleCNN
from gputrain.engine.training.tasks.task import Task

OWN = ("simple_cnn",)


def build(config: RunConfig, task: Task, compute: Compute) -> nn.Module:
    """The network on its device, in its memory format. Raises BadInput for a name or weights."""
    torch.manual_seed(config.seed)
    if config.resume_from:
        # A checkpoint brings its own weights; those that the run once started from may be gone.
        config = settings.replace(config, weights="")
    network = _network(config, task.outputs)
    if config.model.weights and Path(config.model.weights).is_file():
        _load_weights(network, Path(config.model.weights))
    memory_format = torch.channels_last if config.speed.channels_last else torch.contiguous_format
    # Module.to with a memory format has no overload of its own in torch's stubs.
    return network.to(device=compute.device, memory_format=memory_format)  # type: ignore[call-overload, no-any-return]


def _network(config: RunConfig, classes: int) -> nn.Module:
    name = config.model.model
    if name == "simple_cnn":
        return SimpleCNN(classes, config.model.width)
    known = models.list_models(module=models)
    if name not in known:
        raise BadInput(f"model: there is no '{plain(name, 60)}'{did_you_mean(name, [*OWN, *known])}")
    weights = config.model.weights
    if weights and not Path(weights).is_file():
        return _pretrained(name, weights, classes)
    return _untrained(name, classes)


def _untrained(name: str, classes: int) -> nn.Module:
    options: dict[str, Any] = {"num_classes": classes}
    if name in ("inception_v3", "googlenet"):
        options |= {"aux_logits": False, "init_weights": True}
    network: nn.Module = models.get_model(name, weights=None, **options)
    return network


def _pretrained(name: str, weights: str, classes: int) -> nn.Module:
    try:
        chosen = models.get_model_weights(name)[weights]
    except KeyError:
        known = [member.name for member in models.get_model_weights(name)]
        raise BadInput(
            f"weights: no file '{plain(weights, 200)}', and {name} has no weights of that name"
            f"{did_you_mean(weights, known)} (torchvision has {', '.join(known)})"
        ) from None
    try:
        state = chosen.get_state_dict(progress=False, check_hash=True)
    except OSError as error:
        raise BadInput(
            f"weights: {weights} cannot be downloaded ({plain(str(error), 200)}); "
            f"download {chosen.url} elsewhere and name the file: weights=/path/to/file.pth"
        ) from None
    network = _untrained(name, classes)
    _take_over(network, state, weights)
    return network


def _load_weights(network: nn.Module, path: Path) -> None:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - torch.load raises whatever its unpickler meets in a foreign file
        raise BadInput(f"weights: {path} is not a file of weights: {plain(str(error), 200)}") from None
    if isinstance(state, dict):
        # One of our own checkpoints: the average was validated, where there is one.
        state = state.get("ema") or state.get("model", state)
    if not isinstance(state, dict):
        raise BadInput(f"weights: {path} holds a {type(state).__name__}, not weights by name")
    _take_over(network, state, str(path))


def _take_over(network: nn.Module, state: dict[str, Any], source: str) -> None:
    """Load what fits; a classifier for another number of classes is left as it is."""
    own = network.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and getattr(v, "shape", None) == own[k].shape}
    if len(fitting) < 0.5 * len(own):
        raise BadInput(f"weights: {source} fits {len(fitting)} of the model's {len(own)} tensors: another model's?")
    network.load_state_dict({**own, **fitting})


def parameter_count(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
