"""Hue jitter on the device: rotates an image's hues by a share of the colour circle, as torchvision's adjust_hue."""

from __future__ import annotations

import torch

_SIXTHS = (5.0, 3.0, 1.0)


def shift_hue(images: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """`images` (N, 3, H, W) with hues rotated by `shares` (N, 1, 1, 1) of the circle, -0.5 … 0.5; any value range.

    With hue h in sixths of the circle, chroma c and the largest value v, a colour's channel n is
    v - c · clamp(min(k, 4 - k), 0, 1) with k = (n + h) mod 6 and n = 5, 3, 1 for red, green, blue.
    """
    least, most = images.aminmax(dim=1, keepdim=True)
    chroma = most - least
    # Grey has no hue: with a chroma of 0 any divisor is right.
    divisor = torch.where(chroma == 0, 1.0, chroma)
    red, green, blue = images.split(1, dim=1)
    hue = torch.where(
        most == red,
        (green - blue) / divisor,
        torch.where(most == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    sixths = torch.tensor(_SIXTHS, device=images.device).view(1, 3, 1, 1)
    k = (hue + 6 * shares + sixths).remainder(6)
    return most - chroma * torch.minimum(k, 4 - k).clamp_(0, 1)
