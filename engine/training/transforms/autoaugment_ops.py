"""The operations of RandAugment and TrivialAugment on uint8 batches, each image with its own magnitude.

Each returns the same bytes as torchvision.transforms.v2.functional for a single image, except where a sum is rounded in
another order (contrast, and the affine operations with bilinear interpolation and black borders): there a byte may
differ by 1. All take images (N, 3, H, W) and values (N, 6) on one device and return new images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

_GREY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue, ITU-R BT.601 as torchvision rounds them."""


def affine(images: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Affine warp by the inverse matrix (2 × 3, pixels from the centre), bilinear, black outside."""
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = torch.arange(height, device=images.device)[:, None] - (height - 1) / 2
    # No matrix product: TF32 would round it to a tenth of a pixel.
    a, b, c, d, e, f = values[:, :, None, None].unbind(1)
    grid = torch.stack(((a * x + b * y + c) / (width / 2), (d * x + e * y + f) / (height / 2)), dim=3)
    moved = functional.grid_sample(images.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved.round_().to(torch.uint8)


def brightness(images: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Multiply by a factor."""
    return _to_uint8(images * _column(values, 0))


def colour(images: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Multiply the saturation by a factor: 0 is grey."""
    return _blend(images, _grey(images), values)


def contrast(images: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Multiply the distance from the mean grey by a factor."""
    return _blend(images, _grey(images).mean((1, 2, 3), keepdim=True), values)


def sharpness(images: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Multiply the distance from the smoothed image by a factor; the outermost pixels are unchanged."""
    real = images.float()
    if min(images.shape[2:]) <= 2:
        return images
    inner = real[:, :, 1:-1, 1:-1]
    rows = real[:, :, :-2] + real[:, :, 1:-1] + real[:, :, 2:]
    box = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    # A kernel of ones with a five in its middle.
    smooth = ((box + 4 * inner) / 13).round_()
    inner.add_((smooth - inner) * _column(values, 1))
    return _to_uint8(real)


def posterize(images: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Keep the upper bits of each byte; the value is their number."""
    return images & (256 - torch.exp2(8 - _column(values, 0))).to(torch.uint8)


def solarize(images: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Invert pixels that are at least as bright as the value."""
    return torch.where(images >= _column(values, 0), ~images, images)


def auto_contrast(images: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Stretch each channel to 0…255; a constant channel is unchanged."""
    real = images.float()
    low, high = real.amin((2, 3), keepdim=True), real.amax((2, 3), keepdim=True)
    scale = (high - low) * (1 / 255)
    return torch.where(high == low, images, _to_uint8((real - low) / scale.clamp_(min=1e-9)))


def equalize(images: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Equalize each channel's histogram by Pillow's rule; a channel with too few levels is unchanged."""
    flat = images.flatten(2).long()
    counts = torch.zeros((*flat.shape[:2], 256), dtype=torch.int32, device=images.device)
    counts.scatter_add_(2, flat, counts.new_ones(1).expand_as(flat))
    below = counts.cumsum(2, dtype=torch.int32)
    # Pixels of the brightest level do not count towards the step.
    brightest = below.argmax(2, keepdim=True)
    step = (flat.shape[2] - counts.gather(2, brightest)).div_(255, rounding_mode="floor")
    below -= counts
    levels = (below + step // 2).div_(step.clamp(min=1), rounding_mode="floor").clamp_(0, 255)
    equal = levels.to(torch.uint8).gather(2, flat).view_as(images)
    return torch.where(step[..., None] > 0, equal, images)


KERNELS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "affine": affine,
    "brightness": brightness,
    "colour": colour,
    "contrast": contrast,
    "sharpness": sharpness,
    "posterize": posterize,
    "solarize": solarize,
    "auto_contrast": auto_contrast,
    "equalize": equalize,
}
"""By name; `auto_contrast` and `equalize` need no values."""


def _column(values: torch.Tensor, column: int) -> torch.Tensor:
    """A column of `values`, (N, 1, 1, 1)."""
    return values[:, column, None, None, None]


def _grey(images: torch.Tensor) -> torch.Tensor:
    """Whole grey levels, float32 (N, 1, H, W)."""
    red, green, blue = images.unbind(1)
    return red.mul(_GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2]).floor_()[:, None]


def _blend(images: torch.Tensor, other: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return _to_uint8(images * _column(values, 0) + other * _column(values, 1))


def _to_uint8(real: torch.Tensor) -> torch.Tensor:
    """Clamp to 0…255 and truncate."""
    return real.clamp_(0, 255).to(torch.uint8)
