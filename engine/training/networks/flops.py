"""A network tried on a copy of it that holds no numbers: the operations of a step, and what images it takes."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import progressive_resizing, settings
from gputrain.engine.configuration.progressive_resizing import ImageSizeSchedule
from gputrain.engine.configuration.run_config import RunConfig


def flops_per_image(network: nn.Module, image_size: int, group: int = 1) -> float | None:
    """Operations (a multiply-add counts as two) of the forward and backward pass of one image of `image_size`².

    Of a network that takes `group` images as one sample it is the share of one of them.

    Counted by torch's own counter on the meta device: matrix products and convolutions, which is what the field
    counts; nothing is computed. What gradient checkpointing computes again is no useful work and not in it (the
    definition of MFU in Chowdhery et al. 2022, arXiv:2204.02311). None for a network that takes something else than
    images, or has an operation that the meta device lacks.
    """
    try:
        # The average of a batch norm needs two images.
        samples = (2,) if group == 1 else (2, group)
        images = torch.empty(*samples, 3, image_size, image_size, device="meta")
        stand_in = _without_numbers(network).train()
        with FlopCounterMode(display=False) as counter:
            stand_in(images).sum().backward()
    except (RuntimeError, TypeError, AttributeError, ValueError, AssertionError, LookupError, ArithmeticError):
        return None
    # Releases of torch differ in what they let through: an operation that counts for nothing takes no images.
    return float(counter.get_total_flops()) / (2 * group) or None


def check_image_sizes(network: nn.Module, config: RunConfig, flops: float | None, group: int = 1) -> ImageSizeSchedule:
    """How the training images grow; `flops` are the network's for images of full size, None if it can't be tried.

    Raises BadInput for a network that does not take images of the first size.
    """
    growth = progressive_resizing.image_size_schedule(settings.flatten(config))
    small = growth.at(0)
    if small != growth.size and config.data.dataset == "custom":
        raise BadInput(f"progressive_start: {progressive_resizing.OWN}")
    if small != growth.size and flops is not None and flops_per_image(network, small, group) is None:
        raise BadInput(
            f"progressive_start: {config.model.model} does not take images of {small} × {small}; "
            "progressive_start=0 trains at image_size alone"
        )
    return growth


def _without_numbers(network: nn.Module) -> nn.Module:
    """A copy on the meta device that at no moment takes the memory of a second network."""
    copies: dict[int, torch.Tensor] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in network.parameters()
    }
    copies |= {id(buffer): torch.empty_like(buffer, device="meta") for buffer in network.buffers()}
    return copy.deepcopy(network, copies)
