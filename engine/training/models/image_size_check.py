"""Checks that a model accepts the image size, by a forward pass on the meta device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.training.networks.flops import on_meta

_COMMON_SIZE = 224
_ERRORS = (RuntimeError, TypeError, AttributeError, ValueError, AssertionError, LookupError, ArithmeticError)
"""What a forward pass on the meta device raises: for an image that is too small, and for an unsupported operation."""


def check(network: nn.Module, config: RunConfig, group: int = 1) -> None:
    """Raises BadInput if `network` fails for images of ``image_size``, but not for those of its usual size."""
    size = config.data.image_size
    if getattr(getattr(network, "patch_embed", None), "num_patches", None) == 0:
        # timm's ViTs return outputs of the class token alone.
        raise BadInput(refusal(config.model.model, size, "the image is smaller than a patch"))
    usual = _usual_size(network)
    if config.data.dataset == "custom" or size == usual:
        return
    fault = _forward(network, size, group)
    if fault is not None and _forward(network, usual, group) is None:
        raise BadInput(refusal(config.model.model, size, fault))


def refusal(model: str, size: int, why: str) -> str:
    """Error message for an image size that a model does not accept."""
    reason = plain(why.strip().partition("\n")[0], 160)
    return (
        f"image_size: {plain(model, 60)} does not accept images of {size} × {size}: {reason}; choose another image_size"
    )


def _usual_size(network: nn.Module) -> int:
    config: Any = getattr(network, "pretrained_cfg", None) or {}
    size = config.get("input_size") if isinstance(config, Mapping) else None
    return int(size[-1]) if size else _COMMON_SIZE


def _forward(network: nn.Module, size: int, group: int) -> str | None:
    """The error of a forward pass; None if there is none."""
    shape = (2,) if group == 1 else (2, group)
    try:
        with torch.no_grad():
            outputs = on_meta(network).train()(torch.empty(*shape, 3, size, size, device="meta"))
    except _ERRORS as error:
        return str(error) or type(error).__name__
    empty = isinstance(outputs, torch.Tensor) and outputs.numel() == 0
    return "it has no outputs" if empty else None
