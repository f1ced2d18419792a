"""The effect of an image cache on a calibrated rate: faster workers, and other bytes to read from the disk. Pure.

A calibration measures how many images per second one core prepares from files, raw images and JPEG tiles. The workers'
rate changes in the same proportion. The bytes read from the disk follow from where the images are stored.
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
    """The effect from the second epoch on."""

    gain: float
    """A worker's rate over its rate from files."""
    disk_bytes: int
    """Bytes read from the disk per epoch; 0: all stay in memory."""


def cache_speedup(
    made: Calibration, values: Mapping[str, Any], ram_available: int, shm_free: int | None = None
) -> CacheSpeedup:
    """The effect of the cache in `values`; a gain of 1 without a cache and for data without image files."""
    plain, cached = cost_of(made, "none"), cost_of(made, values["cache_form"])
    if values["cache"] == "none" or plain is None or cached is None:
        return CacheSpeedup(1.0, _beyond(made.file_bytes, ram_available))
    needed = round(cached.bytes_per_image * made.train_images)
    in_memory = values["cache"] == "ram"
    allowed = float(cache_room(ram_available, shm_free) if in_memory else needed)
    if values["cache_gib"]:
        allowed = min(allowed, values["cache_gib"] * GIB)
    share = min(1.0, allowed / needed) if needed else 1.0
    # Relative to the time of an image without a cache.
    time = share * plain.per_core / cached.per_core + 1 - share
    kept, files = round(share * needed), round((1 - share) * made.file_bytes)
    if in_memory:
        return CacheSpeedup(1 / time, _beyond(files, ram_available - kept))
    return CacheSpeedup(1 / time, _beyond(files + kept, ram_available))


def cost_of(made: Calibration, form: str) -> CachedCost | None:
    """The measured costs of a form; None where it was not measured."""
    return next((cost for cost in made.cached if cost.form == form), None)


def _beyond(read: int, ram: int) -> int:
    return read if read > FITS_RAM * ram else 0
