"""RandAugment (Cubuk et al. 2020) and TrivialAugment (Müller and Hutter 2021): random choice of operations per image.

Operations, magnitudes and their 31 steps are those of torchvision's RandAugment and TrivialAugmentWide. The choice is a
function of (seed, epoch, index), made on the host for an entire batch at once. Images that need the same kernel are
sorted together, so that the device runs each kernel once a round, over these images alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration.sections.data_settings import DataConfig
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.dataloading import random_resized_crop
from gputrain.engine.training.transforms import autoaugment_ops

Floats = npt.NDArray[np.float64]

OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "colour", "contrast",
    "sharpness", "posterize", "solarize", "auto_contrast", "equalize",
)  # fmt: skip
"""All equally likely."""
BINS = 31
"""Steps of a magnitude."""
_AFFINE = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
_BLENDS = ("brightness", "colour", "contrast", "sharpness")
_OPERATION, _BIN, _SIGN, _DRAWS = 0, 1, 2, 3
_RANDAUGMENT_SHIFT = 150 / 331
"""Largest shift of RandAugment: 150 pixels of AutoAugment's images of 331."""


class PolicyPart(NamedTuple):
    """Rows [start, stop) of a round's table that one kernel changes."""

    kernel: str
    start: int
    stop: int


@dataclass(slots=True)
class AugmentChoices:
    """The operations for the N images of a batch, in one or more rounds."""

    rows: torch.Tensor
    """int64, (rounds, N): positions in the batch, sorted by kernel."""
    values: torch.Tensor
    """float32, (rounds, N, 6): the kernel's argument for the image at that row."""
    parts: tuple[tuple[PolicyPart, ...], ...]
    """The parts of each round, on the host."""

    def to(self, device: torch.device, *, non_blocking: bool) -> AugmentChoices:
        """The same with its tensors on `device`."""
        rows, values = (tensor.to(device, non_blocking=non_blocking) for tensor in (self.rows, self.values))
        return AugmentChoices(rows, values, self.parts)


def magnitudes(policy: str, height: int, width: int) -> dict[str, Floats]:
    """Magnitudes (BINS,) of each operation that has them, without sign, for images of `height` × `width`."""
    wide = policy == "trivialaugment"
    blend = _steps(0, 0.99 if wide else 0.9)
    shear = _steps(0, 0.99 if wide else 0.3)
    bits = np.round(8 - np.arange(BINS) / ((BINS - 1) / (6 if wide else 4)))
    return {
        "shear_x": shear,
        "shear_y": shear,
        "translate_x": np.trunc(_steps(0, 32 if wide else _RANDAUGMENT_SHIFT * width)),
        "translate_y": np.trunc(_steps(0, 32 if wide else _RANDAUGMENT_SHIFT * height)),
        "rotate": _steps(0, 135 if wide else 30),
        **dict.fromkeys(_BLENDS, blend),
        "posterize": bits,
        "solarize": 255 * _steps(1, 0),
    }


def _steps(first: float, last: float) -> Floats:
    """BINS even steps in single precision, as in torchvision: every other threshold is exactly a byte value."""
    return torch.linspace(first, last, BINS).double().numpy()


def draw(config: RunConfig, epoch: int, indices: npt.NDArray[np.int64], images: torch.Tensor) -> AugmentChoices | None:
    """The choices for `images`, which are those at `indices`; None if ``auto_augment`` is off.

    Raises BadInput for images of a custom data set that are not uint8 (N, 3, H, W).
    """
    data = config.data
    if data.auto_augment == "none":
        return None
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        shape = ", ".join(str(side) for side in images.shape[1:])
        raise BadInput(
            f"auto_augment: {data.auto_augment} needs uint8 images with 3 channels, and the data set returns "
            f"{str(images.dtype).removeprefix('torch.')} of ({shape}); return uint8, or set auto_augment=none"
        )
    height, width = images.shape[2:]
    rounds = data.randaugment_ops if data.auto_augment == "randaugment" else 1
    draws = random_resized_crop.uniforms(config.seed, epoch, indices, rounds * _DRAWS, random_resized_crop.AUTO)
    draws = draws.reshape(len(indices), rounds, _DRAWS)
    tables = [_round(data, draws[:, number], height, width) for number in range(rounds)]
    return AugmentChoices(
        torch.from_numpy(np.stack([rows for rows, _, _ in tables])),
        torch.from_numpy(np.stack([values for _, values, _ in tables]).astype(np.float32)),
        tuple(parts for _, _, parts in tables),
    )


def _round(
    data: DataConfig, draws: Floats, height: int, width: int
) -> tuple[npt.NDArray[np.int64], Floats, tuple[PolicyPart, ...]]:
    """Rows, values and parts of one round."""
    operation = (draws[:, _OPERATION] * len(OPERATIONS)).astype(int)
    step = (draws[:, _BIN] * BINS).astype(int)
    if data.auto_augment == "randaugment":
        step[:] = data.randaugment_magnitude
    sign = np.where(draws[:, _SIGN] < 0.5, -1.0, 1.0)
    # The affine operations are adjacent in OPERATIONS, so that sorting by number also sorts by kernel.
    rows = np.argsort(operation, kind="stable")
    values = np.zeros((len(draws), 6))
    parts: list[PolicyPart] = []
    known = magnitudes(data.auto_augment, height, width)
    for number, name in enumerate(OPERATIONS):
        start, stop = np.searchsorted(operation[rows], (number, number + 1)).tolist()
        if start == stop or name == "identity":
            continue
        here = rows[start:stop]
        if name in known:
            values[start:stop] = _values(name, known[name][step[here]], sign[here], height, width)
        kernel = "affine" if name in _AFFINE else name
        if parts and parts[-1].kernel == kernel:
            start = parts.pop().start
        parts.append(PolicyPart(kernel, start, stop))
    return rows.astype(np.int64), values, tuple(parts)


def _values(name: str, magnitude: Floats, sign: Floats, height: int, width: int) -> Floats:
    """Arguments of the kernel of operation `name`, (n, 6): a matrix; or a number, one minus it, and zeros."""
    if name in _AFFINE:
        return _matrices(name, sign * magnitude, height / 2, width / 2)
    values = np.zeros((len(magnitude), 6))
    values[:, 0] = 1 + sign * magnitude if name in _BLENDS else magnitude
    values[:, 1] = 1 - values[:, 0]
    return values


def _matrices(name: str, by: Floats, up: float, left: float) -> Floats:
    """Inverse affine matrices (from result to source coordinates, in pixels from the centre): rows of 2 × 3.

    The centre is `up` from the upper edge and `left` from the left edge.
    """
    one, none = np.ones_like(by), np.zeros_like(by)
    match name:
        case "shear_x":  # the upper edge stays
            rows = (one, by, by * up, none, one, none)
        case "shear_y":  # the left edge stays
            rows = (one, none, none, by, one, by * left)
        case "translate_x":
            rows = (one, none, -by, none, one, none)
        case "translate_y":
            rows = (one, none, none, none, one, -by)
        case _:
            angle = np.radians(by)
            rows = (np.cos(angle), -np.sin(angle), none, np.sin(angle), np.cos(angle), none)
    return np.stack(rows, axis=1)


def apply(images: torch.Tensor, choices: AugmentChoices) -> torch.Tensor:
    """`images`, uint8 (N, 3, H, W), with the chosen operations applied; the input is not modified.

    Shapes and order of all work are known on the host: nothing here synchronises with the device.
    """
    changed = images.clone()
    for rows, values, parts in zip(choices.rows, choices.values, choices.parts, strict=True):
        for kernel, start, stop in parts:
            here = rows[start:stop]
            result = autoaugment_ops.KERNELS[kernel](changed.index_select(0, here), values[start:stop])
            changed.index_copy_(0, here, result)
    return changed
