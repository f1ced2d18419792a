"""Sums of validation metrics that stay on the device until the end of the validation."""

from __future__ import annotations

import torch


class MetricSums:
    """`Scores` whose metrics are means of K values. A task adds its sums in `add` and reads `means` in `metrics`."""

    def __init__(self) -> None:
        self._sums: torch.Tensor | None = None
        self._count = 0

    def add_sums(self, sums: torch.Tensor, count: int) -> None:
        """Add a batch: (K,) sums over `count` values each. Does not wait for the device."""
        self._sums = sums if self._sums is None else self._sums + sums
        self._count += count

    def state(self) -> tuple[torch.Tensor | None, int]:
        """See `Scores`: sums and count."""
        return None if self._sums is None else self._sums.cpu(), self._count

    def merge(self, state: tuple[torch.Tensor | None, int]) -> None:
        """See `Scores`."""
        sums, count = state
        if sums is not None:
            self.add_sums(sums if self._sums is None else sums.to(self._sums.device), count)

    def means(self) -> list[float]:
        """The K means; waits for the device."""
        assert self._sums is not None, "nothing was validated"
        found: list[float] = (self._sums / self._count).tolist()
        return found
