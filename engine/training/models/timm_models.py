"""Models of timm (Wightman 2019), an optional package: ``model=timm/convnext_tiny``."""

from __future__ import annotations

import contextlib
from typing import Any

from torch import nn

from gputrain.engine.common.errors import BadInput, did_you_mean
from gputrain.engine.common.sanitize import plain
from gputrain.engine.model_catalog.torchvision_models import TIMM, why_no_weights
from gputrain.engine.training.models import image_size_check


def build(name: str, outputs: int, weights: str, size: int) -> nn.Module:
    """The model called `name` in timm for images of `size`, with timm's weights if `weights` is DEFAULT.

    Raises BadInput.
    """
    timm = require_timm(name)
    if not timm.is_model(name):
        known = timm.list_models()
        raise BadInput(f"model: timm has no '{plain(name, 60)}'{did_you_mean(name.partition('.')[0], known)}")
    if fault := why_no_weights(f"{TIMM}{name}", weights):
        raise BadInput(fault)
    try:
        return _create(timm, name, outputs, size, pretrained=bool(weights))
    except (ValueError, AssertionError) as error:
        raise BadInput(image_size_check.refusal(f"{TIMM}{name}", size, str(error))) from None
    except (OSError, RuntimeError) as error:
        if not weights:
            raise
        raise BadInput(
            f"weights: timm's weights of {plain(name, 60)} can't be downloaded ({plain(str(error), 200)}); "
            "download them elsewhere and name the file: weights=/path/to/file.pth"
        ) from None


def require_timm(name: str) -> Any:
    """The module timm. Raises BadInput if it can't be imported; `name` is the model that needs it."""
    try:
        import timm
    except ImportError as error:
        raise BadInput(
            f"model: {TIMM}{plain(name, 60)} needs timm, which cannot be imported ({plain(str(error), 200)}): "
            "pip install 'gputrain-tui[timm]'"
        ) from None
    return timm


def _create(timm: Any, name: str, outputs: int, size: int, *, pretrained: bool) -> nn.Module:
    config = timm.get_pretrained_cfg(name)
    usual = tuple(config.input_size) if config is not None else (3, size, size)
    if usual[-2:] != (size, size):
        # Models of a fixed size (ViT, Swin) are built for another one; others have no such argument.
        with contextlib.suppress(TypeError):
            network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=outputs, img_size=size)
            return network
    return timm.create_model(name, pretrained=pretrained, num_classes=outputs)  # type: ignore[no-any-return]
