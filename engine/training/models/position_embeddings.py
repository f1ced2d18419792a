"""Adapts a state dict to a model as torchvision and timm do: position embeddings of another image size, old formats."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from torchvision.models.vision_transformer import VisionTransformer

_POSITIONS = "encoder.pos_embedding"
_TIMM_FILTERS = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained", "pretrained_filter_fn")
"""Functions of timm's model modules that convert a state dict for a model."""

State = dict[str, torch.Tensor]


def adapt(network: nn.Module, state: Mapping[str, torch.Tensor]) -> State:
    """`state` for `network`: interpolated position embeddings, and timm's own conversion for timm's models."""
    from torchvision.models.vision_transformer import VisionTransformer  # only for weights: it takes half a second

    if isinstance(network, VisionTransformer):
        return _torchvision_vit(network, state)
    if type(network).__module__.startswith("timm.models."):
        return _timm(network, state)
    return dict(state)


def _torchvision_vit(network: VisionTransformer, state: Mapping[str, torch.Tensor]) -> State:
    from torchvision.models.vision_transformer import interpolate_embeddings

    positions = state.get(_POSITIONS)
    if positions is None or positions.ndim != 3 or positions.shape == network.encoder.pos_embedding.shape:
        return dict(state)
    if positions.shape[2] != network.hidden_dim:
        # Of another model: the shapes are reported later.
        return dict(state)
    try:
        # Only the embedding: other entries, such as a classifier, keep their values.
        found = interpolate_embeddings(
            network.image_size, network.patch_size, OrderedDict({_POSITIONS: positions.float()})
        )
    except (ValueError, RuntimeError):
        return dict(state)
    return {**state, **found}


def _timm(network: nn.Module, state: Mapping[str, torch.Tensor]) -> State:
    convert = _timm_filter(network)
    if convert is None:
        return dict(state)
    try:
        # timm's interpolation of tables makes torch warn of its indexing.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converted: State = dict(convert(dict(state)))
    except Exception:  # noqa: BLE001 - a conversion for another format of file can raise any error
        return dict(state)
    own = network.state_dict()
    return converted if _fitting(converted, own) >= _fitting(state, own) else dict(state)


def _timm_filter(network: nn.Module) -> Callable[[State], Any] | None:
    module = sys.modules[type(network).__module__]
    # deit3_small is a VisionTransformer, but the module deit builds it and converts its files.
    architecture = getattr(network, "default_cfg", None) or {}
    builder = _builder_module(str(architecture.get("architecture", ""))) or module
    for place in (builder, module):
        convert = next((getattr(place, name) for name in _TIMM_FILTERS if hasattr(place, name)), None)
        if convert is not None:
            parameters = inspect.signature(convert).parameters
            # As timm.models.deit builds its models.
            more = {"adapt_layer_scale": True} if place.__name__ == "timm.models.deit" else {}
            if len([p for p in parameters.values() if p.default is inspect.Parameter.empty]) >= 2 or more:
                return lambda state: convert(state, network, **more)
            found: Callable[[State], Any] = convert
            return found
    return None


def _builder_module(architecture: str) -> Any:
    from timm.models import is_model, model_entrypoint

    return sys.modules[model_entrypoint(architecture).__module__] if is_model(architecture) else None


def _fitting(state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> int:
    return sum(name in own and own[name].shape == tensor.shape for name, tensor in state.items())
