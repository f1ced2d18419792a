"""What a plan foretells of a run's speed: the type that plan, record and summary share."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Limiter = Literal["step", "workers", "cores", "disk"]
LIMITERS: dict[Limiter, str] = {
    "step": "the training step",
    "workers": "the workers",
    "cores": "the cores, which workers and step share",
    "disk": "the disk",
}


class SpeedForecast(Struct, frozen=True, kw_only=True):
    """What is foretold. Rates are images per second, times seconds."""

    low: float
    high: float
    limiter: Limiter
    supply: float
    """What the workers could deliver."""
    step: float
    """What the step could take."""
    disk: float | None
    """What the disk could deliver; None: not measured, or every file stays in memory."""
    epoch_seconds: float
    """With validation."""
    total_seconds: float
    largest_batch: int | None
    """That fits the memory; None: not known."""
    measured: float
    """When the calibration was made, seconds since 1970."""

    @property
    def rate(self) -> float:
        """The middle of the range."""
        return (self.low + self.high) / 2
