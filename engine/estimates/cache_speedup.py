"""What a cache of prepared images does to a calibrated rate, and which one is worth offering. Pure.

A calibration measures what one core makes of images from their files, of raw images and of JPEG tiles. The workers'
rate follows in the same proportion; what the disk has to give follows from where the bytes are then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gputrain.engine.common.units import GIB
from gputrain.engine.estimates.calibration import CachedCost, Calibration
from gputrain.engine.estimates.host_memory import cache_room

FITS_RAM = 0.8
"""Share of the free memory up to which files stay in the page cache after the first epoch."""


@dataclass(frozen=True, slots=True)
class CacheSpeedup:
    """What holds from the second epoch on."""

    gain: float
    """Images that a worker makes, over those that it makes from files."""
    disk_bytes: int
    """Read from the disk in an epoch; 0: all stays in memory."""


def cache_speedup(
    made: Calibration, values: Mapping[str, Any], ram_available: int, shm_free: int | None = None
) -> CacheSpeedup:
    """The effect of the cache that `values` ask for. Data that aren't image files have none, and no costs of any."""
    plain, cached = cost_of(made, "none"), cost_of(made, values["cache_form"])
    if values["cache"] == "none" or plain is None or cached is None:
        return CacheSpeedup(1.0, _beyond(made.file_bytes, ram_available))
    needed = round(cached.bytes_per_image * made.train_images)
    in_memory = values["cache"] == "ram"
    allowed = float(cache_room(ram_available, shm_free) if in_memory else needed)
    if values["cache_gib"]:
        allowed = min(allowed, values["cache_gib"] * GIB)
    share = min(1.0, allowed / needed) if needed else 1.0
    # Of the time of an image without a cache.
    time = share * plain.per_core / cached.per_core + 1 - share
    kept, files = round(share * needed), round((1 - share) * made.file_bytes)
    if in_memory:
        return CacheSpeedup(1 / time, _beyond(files, ram_available - kept))
    return CacheSpeedup(1 / time, _beyond(files + kept, ram_available))


def cost_of(made: Calibration, form: str) -> CachedCost | None:
    """What was measured for a form; None where it was not."""
    return next((cost for cost in made.cached if cost.form == form), None)


def _beyond(read: int, ram: int) -> int:
    return read if read > FITS_RAM * ram else 0
