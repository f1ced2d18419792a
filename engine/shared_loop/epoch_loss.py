"""Mean training loss of an epoch, from the losses fetched so far."""

from __future__ import annotations

import itertools
from collections.abc import Iterable


class EpochLoss:
    """Sum and number of the losses of one epoch. A checkpoint keeps both, so that a resumed epoch has the same mean."""

    def __init__(self) -> None:
        self.sum = 0.0
        self.steps = 0

    def add(self, losses: Iterable[float], batches: Iterable[int] = itertools.repeat(1)) -> None:
        """Add the mean losses of some steps, in order; `batches`: of all ranks in each step."""
        for loss, count in zip(losses, batches, strict=False):
            self.sum += loss * count
            self.steps += count

    def take_mean(self) -> float | None:
        """Mean loss per batch, None without any; starts the next epoch."""
        mean = self.sum / self.steps if self.steps else None
        self.sum, self.steps = 0.0, 0
        return mean
