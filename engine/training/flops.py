"""Floating-point operations of a training step, counted on a copy of the network that holds no numbers."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def flops_per_image(network: nn.Module, image_size: int) -> float | None:
    """Operations (a multiply-add counts as two) of the forward and backward pass of one image of `image_size`².

    Counted by torch's own counter on the meta device: matrix products and convolutions, which is what the field
    counts; nothing is computed. What gradient checkpointing computes again is no useful work and not in it (the
    definition of MFU in Chowdhery et al. 2022, arXiv:2204.02311). None for a network that takes something else than
    images, or has an operation that the meta device lacks.
    """
    try:
        # The average of a batch norm needs two images.
        images = torch.empty(2, 3, image_size, image_size, device="meta")
        stand_in = _without_numbers(network).train()
        with FlopCounterMode(display=False) as counter:
            stand_in(images).sum().backward()
    except (RuntimeError, NotImplementedError, TypeError, AttributeError, ValueError):
        return None
    return float(counter.get_total_flops()) / 2


def _without_numbers(network: nn.Module) -> nn.Module:
    """A copy on the meta device that at no moment takes the memory of a second network."""
    copies: dict[int, torch.Tensor] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in network.parameters()
    }
    copies |= {id(buffer): torch.empty_like(buffer, device="meta") for buffer in network.buffers()}
    return copy.deepcopy(network, copies)
