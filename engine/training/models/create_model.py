"""Creates the model by name (torchvision, timm, simple_cnn, user code), with the task's outputs and its weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.model_catalog import torchvision_models
from gputrain.engine.training.models import image_size_check, pretrained_weights, timm_models
from gputrain.engine.training.models.pretrained_weights import Notice
from gputrain.engine.training.networks.simple_cnn import SimpleCNN
from gputrain.engine.training.runtime import rng_state
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.tasks.task import Task
from gputrain.engine.user_code import import_function, source_check

_INPUT_SIZE_MODELS = ("maxvit_t",)
"""torchvision's models that are built for one image size by ``input_size``; its ViTs have ``image_size``."""


def build(config: RunConfig, task: Task, compute: Compute, notice: Notice = lambda level, text: None) -> nn.Module:
    """The network on its device, in its memory format. Raises BadInput for an unknown name or unfit weights."""
    rng_state.seed(config.seed)
    network = create(config, task, notice)
    image_size_check.check(network, config, task.group)
    memory_format = torch.channels_last if config.speed.channels_last else torch.contiguous_format
    # torch's stubs have no overload of Module.to with a memory format.
    return network.to(device=compute.device, memory_format=memory_format)  # type: ignore[call-overload, no-any-return]


def create(config: RunConfig, task: Task, notice: Notice) -> nn.Module:
    """The network with its initial weights. Raises BadInput for an unknown name or unfit weights."""
    # A checkpoint has its own weights; the file that the run started from may no longer exist.
    source = "" if config.resume_from else config.model.weights
    file = files.expand_user(source) if source else None
    from_file = file is not None and file.is_file()
    network = task.network(lambda outputs: model_of(config, outputs, "" if from_file else source, notice))
    if file is not None and from_file:
        pretrained_weights.load_file(
            network, file, config.model.model, task.outputs, notice, strict=config.model.weights_strict
        )
    return network


def on_meta(config: RunConfig, outputs: int) -> nn.Module:
    """The model of the settings without weights, on the meta device. Raises BadInput."""
    try:
        with torch.device("meta"):
            return model_of(config, outputs, "", lambda level, text: None)
    except NotImplementedError:
        # torchvision's RegNet computes its widths with tensors.
        return model_of(config, outputs, "", lambda level, text: None).to("meta")


def model_of(config: RunConfig, outputs: int, named_weights: str, notice: Notice) -> nn.Module:
    """The model of the settings without a file of weights. Raises BadInput."""
    name = config.model.model
    if source_check.is_spec(name):
        return _user_model(config, outputs, named_weights)
    if name.startswith(torchvision_models.TIMM):
        size = config.data.image_size
        return timm_models.build(name.removeprefix(torchvision_models.TIMM), outputs, named_weights, size)
    if name == "simple_cnn":
        if named_weights:
            raise BadInput(torchvision_models.why_no_weights(name, named_weights))
        return SimpleCNN(outputs, config.model.width)
    from torchvision import models  # half a second, which no other model needs

    known = models.list_models(module=models)
    if name not in known:
        raise BadInput(torchvision_models.unknown_model(name, known))
    network = _torchvision_model(name, outputs, config.data.image_size)
    if named_weights:
        pretrained_weights.load_named(network, name, named_weights, outputs, notice, strict=config.model.weights_strict)
    return network


def _user_model(config: RunConfig, outputs: int, named_weights: str) -> nn.Module:
    """The model that a user's function returns."""
    spec, folder = config.model.model, config.data.code_dir
    if named_weights:
        raise BadInput(torchvision_models.why_no_weights(spec, named_weights))
    function = import_function.import_function(spec, folder, "model")
    network = import_function.call_user_function(function, outputs, setting="model", spec=spec, folder=folder)
    if not isinstance(network, nn.Module):
        raise BadInput(f"model: {plain(spec, 100)} gave a {plain(type(network).__name__, 60)}, not a torch.nn.Module")
    return network


def _torchvision_model(name: str, outputs: int, size: int) -> nn.Module:
    from torchvision import models

    options: dict[str, Any] = {"num_classes": outputs}
    if name in ("inception_v3", "googlenet"):
        options |= {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):
        options["image_size"] = size
    if name in _INPUT_SIZE_MODELS:
        options["input_size"] = (size, size)
    try:
        network: nn.Module = models.get_model(name, weights=None, **options)
    except (ValueError, AssertionError, RuntimeError) as error:
        if "image_size" not in options and "input_size" not in options:
            raise
        raise BadInput(image_size_check.refusal(name, size, str(error))) from None
    return network


def parameter_count(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
