"""Random resized crop and centre crop: the part of an image that a sample shows, from (seed, epoch, index) alone.

A sample's random numbers come from a SplitMix64 stream (Steele, Lea and Flood 2014), which has random access: the
stream's start comes from (seed, epoch), the position from the image's index. They depend on neither the worker, the
batch nor earlier samples, and the numbers of an entire batch are drawn at once.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

TRIES = 10
"""Boxes that are tried before the centre is taken, as in torchvision's RandomResizedCrop."""
_RATIO = (3 / 4, 4 / 3)
_FLIP, _X, _Y, _FIRST_TRY = 0, 1, 2, 3
DRAWS = _FIRST_TRY + 2 * TRIES
"""Random numbers of one sample: flip, position, and area and aspect ratio for each try."""
_AUGMENT, ON_DEVICE, MIXING, REPLACING, AUTO, HUE = 2, 3, 4, 5, 6, 7
"""Counter words that separate these random streams (and the batch sampler's) under the same (seed, epoch) key: crops
and flips; colour jitter and erasing; mixup and cutmix; replacements of bad images; RandAugment and TrivialAugment; hue
jitter."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

Draws = list[float]


class CropGeometry(NamedTuple):
    """A box of an image, the size to which it is resized, and the offset of what is kept of that; in pixels."""

    left: int
    top: int
    width: int
    height: int
    resized_width: int
    resized_height: int
    kept_left: int
    kept_top: int


@dataclass(frozen=True, slots=True)
class CropDraw:
    """How samples are cut from images."""

    kind: Literal["random", "centre"]
    """A random box that is resized, or the resized image's centre."""
    size: int
    """Side of the square that the model sees."""
    resize: int
    """Short side of the image before its centre is cut out; unused for ``random``."""
    min_scale: float = 1.0
    """Smallest share of the image's area that a random box keeps."""
    squash: bool = False
    """Whether the long side, too, is resized to `resize`; unused for ``random``."""

    def sized(self, size: int) -> CropDraw:
        """The same crop for samples of another size."""
        if size == self.size:
            return self
        return dataclasses.replace(self, size=size, resize=round(self.resize * size / self.size))

    def geometry(self, draws: Draws, width: int, height: int) -> CropGeometry:
        """The crop of an image of `width` × `height` for these `draws`."""
        if self.kind == "random":
            return CropGeometry(*random_crop_box(draws, width, height, self.min_scale), self.size, self.size, 0, 0)
        return center_crop_box(width, height, self.resize, self.size, squash=self.squash)

    def within(self, box: list[float], draws: Draws, width: int, height: int) -> CropGeometry:
        """The crop inside `box`: left, top, right and bottom as shares of the image's sides."""
        left, right = _stretch(box[0], box[2], width)
        top, bottom = _stretch(box[1], box[3], height)
        part = self.geometry(draws, right - left, bottom - top)
        return part._replace(left=part.left + left, top=part.top + top)


def _stretch(start: float, end: float, length: int) -> tuple[int, int]:
    """First and last (exclusive) pixel between two shares of a side; at least one pixel."""
    first = min(max(0, round(start * length)), length - 1)
    return first, max(first + 1, min(length, round(end * length)))


def uniforms(
    seed: int, epoch: int, indices: npt.NDArray[np.int64], draws: int = DRAWS, stream: int = _AUGMENT
) -> npt.NDArray[np.float64]:
    """Random numbers in [0, 1) for the samples at `indices`, shape (len(indices), draws)."""
    start = np.random.Philox(key=[seed, epoch], counter=[0, 0, 0, stream]).random_raw(1)[0]
    position = indices.astype(np.uint64)[:, None] * np.uint64(draws) + np.arange(1, draws + 1, dtype=np.uint64)
    bits = start + position * _GOLDEN
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    numbers: npt.NDArray[np.float64] = (bits >> np.uint64(11)) * 2.0**-53
    return numbers


def draw_flips(seed: int, epoch: int, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which of the samples at `indices` are mirrored (half of them), shape (len(indices),); the device mirrors them."""
    mirrored: npt.NDArray[np.bool_] = uniforms(seed, epoch, indices)[:, _FLIP] < 0.5
    return mirrored


def random_crop_box(draws: Draws, width: int, height: int, min_scale: float) -> tuple[int, int, int, int]:
    """A box (left, top, width, height) in an image of `width` × `height`, as RandomResizedCrop's.

    Its area is a share in [min_scale, 1] of the image's, its ratio in [3/4, 4/3], uniform in the logarithm. After ten
    boxes that don't fit, it is the largest centred box with a permitted ratio.
    """
    area = width * height
    low, high = math.log(_RATIO[0]), math.log(_RATIO[1])
    for at in range(_FIRST_TRY, DRAWS, 2):
        target = area * (min_scale + (1 - min_scale) * draws[at])
        ratio = math.exp(low + (high - low) * draws[at + 1])
        w, h = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(draws[_X] * (width - w + 1)), int(draws[_Y] * (height - h + 1)), w, h
    ratio = min(max(width / height, _RATIO[0]), _RATIO[1])
    w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
    return (width - w) // 2, (height - h) // 2, w, h


def center_crop_box(width: int, height: int, resize: int, size: int, *, squash: bool = False) -> CropGeometry:
    """The central `size` × `size` pixels of an image whose short side is first resized to `resize`.

    Rounds as torchvision's Resize and CenterCrop do. Where `size` is larger than `resize`, the image is resized to
    `size` instead of being padded. With `squash` both sides are resized, as with timm's crop mode of this name.
    """
    short = max(resize, size)
    if squash:
        resized_width, resized_height = short, short
    elif width <= height:
        resized_width, resized_height = short, int(short * height / width)
    else:
        resized_width, resized_height = int(short * width / height), short
    kept_left, kept_top = round((resized_width - size) / 2), round((resized_height - size) / 2)
    return CropGeometry(0, 0, width, height, resized_width, resized_height, kept_left, kept_top)
