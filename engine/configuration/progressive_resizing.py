"""Progressive resizing: the size of training images grows from epoch to epoch. Pure functions.

Early epochs on small images cost a fraction of the time and bring nearly the same accuracy (Howard
2018, fast.ai's DAWNBench entry; Tan and Le 2021, arXiv:2104.00298; FFCV's ImageNet recipe goes from 160 to 192 px).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SHARE = 0.75
"""Default of `progressive_epochs` as a share of all epochs; the rest, and validation, use the full size."""
OWN = "a custom data set determines its image size itself; set progressive_start=0"
_STEP, _SMALL_STEP, _SMALL = 32, 8, 128
"""Sizes are multiples of 32 pixels, the stride of most networks, which also limits the number of shapes to compile;
for images below 128 pixels multiples of 8."""


@dataclass(frozen=True, slots=True)
class ImageSizeSchedule:
    """The side of the training images in each epoch, in pixels."""

    start: int
    """Side in the first epoch."""
    size: int
    """Side from epoch `epochs` on."""
    epochs: int

    def at(self, epoch: int) -> int:
        """The side in `epoch` (from 0)."""
        if epoch >= self.epochs:
            return self.size
        if epoch == 0:
            return self.start
        step = _STEP if self.size >= _SMALL else _SMALL_STEP
        exact = self.start + (self.size - self.start) * epoch / self.epochs
        return max(self.start, min(self.size, round(exact / step) * step))

    def stages(self) -> tuple[tuple[int, int], ...]:
        """(first epoch from 0, side) of each size."""
        stages = [(0, self.at(0))]
        for epoch in range(1, self.epochs + 1):
            if self.at(epoch) != stages[-1][1]:
                stages.append((epoch, self.at(epoch)))
        return tuple(stages)

    def cost(self, epochs: int) -> float:
        """Pixels of a run of `epochs` relative to one at full size, 0…1; about the relative FLOPs of a CNN."""
        whole = max(0, epochs - self.epochs)
        growing = sum((self.at(epoch) / self.size) ** 2 for epoch in range(min(epochs, self.epochs)))
        return (growing + whole) / epochs


def image_size_schedule(values: Mapping[str, Any]) -> ImageSizeSchedule:
    """The schedule of the settings (by name); `epochs` is 0 for a constant size."""
    size, start = values["image_size"], values["progressive_start"]
    if not start or start >= size:
        return ImageSizeSchedule(size, size, 0)
    return ImageSizeSchedule(start, size, values["progressive_epochs"] or max(1, round(_SHARE * values["epochs"])))


def sentence(found: ImageSizeSchedule, epochs: int) -> str:
    """The sizes of a run of `epochs`, as text."""
    stages = [(first, side) for first, side in found.stages() if first < epochs]
    sizes = ", ".join(f"{side} from epoch {first + 1}" for first, side in stages)
    return f"{sizes}; {found.cost(epochs):.0%} of the pixels of a run at {found.size}"
