"""Means over a validation whose sums stay on the device until its end."""

from __future__ import annotations

import torch


class MetricMeans:
    """Of K figures at a time."""

    def __init__(self) -> None:
        self._sums: torch.Tensor | None = None
        self._count = 0

    def add(self, sums: torch.Tensor, count: int) -> None:
        """Take in a batch: (K,) sums over `count` values each. Waits for nothing."""
        self._sums = sums if self._sums is None else self._sums + sums
        self._count += count

    def state(self) -> tuple[torch.Tensor | None, int]:
        """Sums and count, on the host; the device is waited for."""
        return None if self._sums is None else self._sums.cpu(), self._count

    def merge(self, state: tuple[torch.Tensor | None, int]) -> None:
        """Take in another one's."""
        sums, count = state
        if sums is not None:
            self.add(sums if self._sums is None else sums.to(self._sums.device), count)

    def take(self) -> list[float]:
        """The K means so far; the device is waited for."""
        assert self._sums is not None, "nothing was validated"
        found: list[float] = (self._sums / self._count).tolist()
        return found
