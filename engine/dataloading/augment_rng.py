"""Random numbers for augmentation on the device: pure functions of (seed, epoch, index or batch number)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.dataloading import random_resized_crop

Floats = npt.NDArray[np.floating[Any]]

_TRIES = 64
_KIND, _X, _Y, _FIRST_TRY = 0, 1, 2, 3
_COLOURS = 3
_ERASED_AREA = (0.02, 1 / 3)
"""Smallest and largest share of an image that is erased (Zhong et al. 2017, arXiv:1708.04896; torchvision's)."""
_ERASED_RATIO = (0.3, 3.3)


@dataclass(frozen=True, slots=True)
class MixParameters:
    """How each image of a batch is mixed with its partner, the image before it in the batch."""

    share: float
    """Weight of the image's own pixels and label; the partner has the rest."""
    box: tuple[int, int, int, int] | None
    """Left, top, right and bottom of the part that the partner's pixels replace (cutmix); None: blended (mixup)."""


def draw_mix_parameters(config: RunConfig, epoch: int, number: int, side: int) -> MixParameters | None:
    """Mixing parameters of batch `number`, of images `side` pixels wide and high; None if mixing is off.

    Mixup (Zhang et al. 2018), cutmix (Yun et al. 2019) or, with both on, one of them at random.
    """
    mixup, cutmix = config.optim.mixup, config.optim.cutmix
    if not mixup and not cutmix:
        return None
    at = np.array([number], dtype=np.int64)
    draws = random_resized_crop.uniforms(config.seed, epoch, at, _FIRST_TRY + 2 * _TRIES, random_resized_crop.MIXING)[
        0
    ].tolist()
    if mixup and not (cutmix and draws[_KIND] < 0.5):
        return MixParameters(beta_sample(mixup, draws[_FIRST_TRY:]), None)
    half = 0.5 * side * math.sqrt(1 - beta_sample(cutmix, draws[_FIRST_TRY:]))
    x, y = draws[_X] * side, draws[_Y] * side
    left, right = round(max(0.0, x - half)), round(min(float(side), x + half))
    top, bottom = round(max(0.0, y - half)), round(min(float(side), y + half))
    return MixParameters(1 - (right - left) * (bottom - top) / side**2, (left, top, right, bottom))


def beta_sample(alpha: float, draws: list[float]) -> float:
    """A sample of Beta(alpha, alpha) by Jöhnk's method, for alpha ≤ 2.

    NumPy guarantees no stable stream for its own beta samples. Returns the mean, 0.5, when all `draws` are used up
    (fewer than one in 100,000 for alpha = 2).
    """
    for first, second in zip(draws[::2], draws[1::2], strict=True):
        x, y = math.pow(first, 1 / alpha), math.pow(second, 1 / alpha)
        if 0 < x + y <= 1:
            return x / (x + y)
    return 0.5


def color_jitter_factors(config: RunConfig, epoch: int, indices: npt.NDArray[np.int64]) -> Floats:
    """Factors of brightness, contrast and saturation for the images at `indices`, shape (n, 3)."""
    draws = _on_device(config, epoch, indices)[:, :_COLOURS]
    return 1 + config.data.color_jitter * (2 * draws - 1)


def hue_shifts(config: RunConfig, epoch: int, indices: npt.NDArray[np.int64]) -> Floats:
    """Hue shifts of the images at `indices`, as shares of the colour circle, shape (n,)."""
    draws = random_resized_crop.uniforms(config.seed, epoch, indices, 1, random_resized_crop.HUE)[:, 0]
    return config.data.hue_jitter * (2 * draws - 1)


def erasing_boxes(config: RunConfig, epoch: int, indices: npt.NDArray[np.int64], side: int) -> Floats:
    """Left, top, right and bottom of the part to erase in the images at `indices`, shape (n, 4); zeros: none.

    The images are `side` pixels wide and high.
    """
    chosen, area, ratio, x, y = _on_device(config, epoch, indices)[:, _COLOURS:].T
    low, high = np.log(_ERASED_RATIO)
    shape = np.exp(low + (high - low) * ratio)
    pixels = (_ERASED_AREA[0] + (_ERASED_AREA[1] - _ERASED_AREA[0]) * area) * side**2
    width = np.clip(np.round(np.sqrt(pixels * shape)), 1, side)
    height = np.clip(np.round(np.sqrt(pixels / shape)), 1, side)
    left, top = np.floor(x * (side - width + 1)), np.floor(y * (side - height + 1))
    boxes = np.stack((left, top, left + width, top + height), axis=1)
    boxes[chosen >= config.data.random_erasing] = 0
    return boxes


def _on_device(config: RunConfig, epoch: int, indices: npt.NDArray[np.int64]) -> Floats:
    return random_resized_crop.uniforms(config.seed, epoch, indices, _COLOURS + 5, random_resized_crop.ON_DEVICE)
