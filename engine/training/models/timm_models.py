"""Models of timm (Wightman 2019), an optional package: ``model=timm/convnext_tiny``."""

from __future__ import annotations

from torch import nn

from gputrain.engine.common.errors import BadInput, did_you_mean
from gputrain.engine.common.sanitize import plain
from gputrain.engine.model_catalog.torchvision_models import TIMM, why_no_weights


def build(name: str, outputs: int, weights: str) -> nn.Module:
    """The model called `name` in timm, with its own weights if `weights` is DEFAULT, else random. Raises BadInput."""
    try:
        import timm
    except ImportError as error:
        raise BadInput(
            f"model: {TIMM}{plain(name, 60)} needs timm, which cannot be imported ({plain(str(error), 200)}): "
            "pip install 'gputrain-tui[timm]'"
        ) from None
    if not timm.is_model(name):
        known = timm.list_models()
        raise BadInput(f"model: timm has no '{plain(name, 60)}'{did_you_mean(name.partition('.')[0], known)}")
    if fault := why_no_weights(f"{TIMM}{name}", weights):
        raise BadInput(fault)
    try:
        network: nn.Module = timm.create_model(name, pretrained=bool(weights), num_classes=outputs)
    except (OSError, RuntimeError) as error:
        raise BadInput(
            f"weights: timm's weights of {plain(name, 60)} cannot be had ({plain(str(error), 200)}); "
            "download them elsewhere and name the file: weights=/path/to/file.pth"
        ) from None
    return network
