"""SpeedForecast: the predicted speed of a run, shared by plan, record and summary."""

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
    """The predicted speed. Rates in images per second, times in seconds."""

    low: float
    """Images per second, at least."""
    high: float
    """Images per second, at most."""
    limiter: Limiter
    """What limits the speed."""
    supply: float
    """Rate that the workers can deliver."""
    step: float
    """Rate that the training step can process."""
    disk: float | None
    """Rate that the disk can deliver; None: not measured, or all files stay in the page cache."""
    epoch_seconds: float
    """Duration of an epoch, with validation."""
    total_seconds: float
    """Time of the whole run."""
    largest_batch: int | None
    """The largest batch size that fits in memory; None: unknown."""
    measured: float
    """Time of the calibration in seconds since 1970."""

    @property
    def rate(self) -> float:
        """The middle of the range."""
        return (self.low + self.high) / 2
