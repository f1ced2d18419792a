"""Mean training loss of an epoch, from the losses fetched so far."""

from __future__ import annotations

from collections.abc import Iterable


class EpochLoss:
    """Sum and number of the losses of one epoch. A checkpoint keeps both, so that a resumed epoch has the same mean."""

    def __init__(self) -> None:
        self.sum = 0.0
        self.steps = 0

    def add(self, losses: Iterable[float]) -> None:
        """Add the losses of some steps, in order."""
        for loss in losses:
            self.sum += loss
            self.steps += 1

    def take_mean(self) -> float | None:
        """Mean loss per step, None without steps; starts the next epoch."""
        mean = self.sum / self.steps if self.steps else None
        self.sum, self.steps = 0.0, 0
        return mean
