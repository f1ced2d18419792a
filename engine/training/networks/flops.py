"""FLOPs of a training step, and whether a network accepts an image size; both on the meta device."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import progressive_resizing, settings
from gputrain.engine.configuration.progressive_resizing import ImageSizeSchedule
from gputrain.engine.configuration.setting_definitions import RunConfig


def flops_per_image(network: nn.Module, image_size: int, group: int = 1) -> float | None:
    """FLOPs (a multiply-add counts as two) of the forward and backward pass of one image of `image_size`².

    For a network that takes `group` images as one sample: the share of one image.

    torch's FlopCounterMode counts matrix products and convolutions on the meta device; nothing is computed.
    Recomputation by gradient checkpointing is not included (the definition of MFU in Chowdhery et al. 2022,
    arXiv:2204.02311). None if the network does not accept such images, or has an operation without meta support.
    """
    try:
        # Batch norm needs two images in training mode.
        samples = (2,) if group == 1 else (2, group)
        images = torch.empty(*samples, 3, image_size, image_size, device="meta")
        copyon_meta = on_meta(network).train()
        with FlopCounterMode(display=False) as counter:
            copyon_meta(images).sum().backward()
    except (RuntimeError, TypeError, AttributeError, ValueError, AssertionError, LookupError, ArithmeticError):
        return None
    # Some releases of torch raise nothing for images that are too small; the count is 0 then.
    return float(counter.get_total_flops()) / (2 * group) or None


def check_image_sizes(network: nn.Module, config: RunConfig, flops: float | None, group: int = 1) -> ImageSizeSchedule:
    """Schedule of progressive resizing. `flops`: of an image of full size, None if they can't be counted.

    Raises BadInput if the network does not accept images of the first size.
    """
    growth = progressive_resizing.image_size_schedule(settings.flatten(config))
    small = growth.at(0)
    if small != growth.size and config.data.dataset == "custom":
        raise BadInput(f"progressive_start: {progressive_resizing.OWN}")
    if small != growth.size and flops is not None and flops_per_image(network, small, group) is None:
        raise BadInput(
            f"progressive_start: {config.model.model} does not accept images of {small} × {small}; "
            "progressive_start=0 trains at image_size alone"
        )
    return growth


def on_meta(network: nn.Module) -> nn.Module:
    """A copy on the meta device, made without allocating a second network."""
    copies: dict[int, torch.Tensor] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in network.parameters()
    }
    copies |= {id(buffer): torch.empty_like(buffer, device="meta") for buffer in network.buffers()}
    return copy.deepcopy(network, copies)
