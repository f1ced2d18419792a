"""Throughput forecast from a calibration: images per second, the limiting part, times, the largest batch. Pure.

The workers and the step are a pipeline: the slower one decides. On the CPU both use the same cores, so a third limit is
the CPU time per image for decoding and computing. Effects outside these three (waits at the start of epochs, memory
bandwidth, the GIL) are in a factor: the rate measured with workers and steps together over the rate that the limits
give for that measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gputrain.engine.estimates import cache_speedup
from gputrain.engine.estimates.cache_speedup import CacheSpeedup
from gputrain.engine.estimates.calibration import Calibration
from gputrain.engine.events.speed_forecast import Limiter, SpeedForecast

_LEAST_SPREAD = 0.07
"""Least relative half-width of the forecast's range: runs with the same settings differ by about as much."""
_MOST_SPREAD = 0.9
"""Largest relative half-width; a measurement that varied more says little."""
_VRAM_SHARE = 0.92
"""Share of a GPU's memory that a batch may take; the rest is for the CUDA context and fragmentation."""


def forecast(
    made: Calibration,
    values: Mapping[str, Any],
    *,
    memory: int | None,
    ram_available: int,
    shm_free: int | None = None,
) -> SpeedForecast:
    """The forecast for the settings `values`, for which `made` must be valid.

    `memory`: bytes of the training device (the GPU's free memory, or the process's limit); `ram_available`: available
    bytes of host memory; `shm_free`: bytes that can be written to ``/dev/shm`` (None: unlimited).
    """
    rate, limiter, rates = _rate(made, values, cache_speedup.cache_speedup(made, values, ram_available, shm_free))
    spread = min(_MOST_SPREAD, max(_LEAST_SPREAD, made.spread / made.together))
    low, high = rate * (1 - spread), rate * (1 + spread)
    first = rate
    if values["cache"] != "none":
        # The first epoch fills the cache.
        first = min(rate, _rate(made, values, cache_speedup.CacheSpeedup(1.0, 0))[0])
    epoch, total = _times(made, values, rate, first)
    return SpeedForecast(
        low=low,
        high=high,
        limiter=limiter,
        supply=rates.get("workers", made.supply),
        step=max(rate, _step_rate(made, values["batch_size"])),
        disk=rates.get("disk"),
        epoch_seconds=epoch,
        total_seconds=total,
        largest_batch=largest_batch(made, memory),
        measured=made.made,
    )


def _rate(
    made: Calibration, values: Mapping[str, Any], effect: CacheSpeedup
) -> tuple[float, Limiter, dict[Limiter, float]]:
    """Images per second, the limiting part, and the rate of each part alone."""
    rates = _limits(made, values["num_workers"], values["batch_size"], effect.gain)
    before = _limits(made, made.num_workers, made.batch_size, 1.0)
    factor = made.together / min(before.values())
    if made.num_workers and not values["num_workers"]:
        factor = 1.0  # nothing overlaps: the two times add up
    reached = {name: rate * factor for name, rate in rates.items()}
    if made.disk_rate and effect.disk_bytes:
        reached["disk"] = rates["disk"] = made.disk_rate / (effect.disk_bytes / made.train_images)
    limiter = min(reached, key=lambda name: reached[name])
    rate = reached[limiter]
    # No part is slower alone than in the whole: one that was measured so was disturbed.
    return rate, limiter, {name: max(alone, rate) for name, alone in rates.items()}


def _times(made: Calibration, values: Mapping[str, Any], rate: float, first: float) -> tuple[float, float]:
    """Seconds of an epoch with its validation, and of the whole run, whose first epoch runs at the rate `first`."""
    batch = min(values["batch_size"], made.train_images)
    images = made.train_images // batch * batch
    validates = made.validation if values["val_split"] else None
    validating = made.val_images / validates / values["validate_epochs"] if validates else 0.0
    total = images * values["epochs"]
    if values["max_steps"]:
        total = min(total, values["max_steps"] * batch)
    filling = min(images, total)
    training = filling / first + (total - filling) / rate
    return images / rate + validating, training + validating * total / images


def _limits(made: Calibration, workers: int, batch_size: int, gain: float) -> dict[Limiter, float]:
    """The rate of each part of the pipeline alone, with workers `gain` times as fast as measured."""
    step = _step_rate(made, batch_size)
    calibrated = max(1.0, min(made.num_workers, made.usable_cores))
    if not workers:
        alone = made.supply * gain / calibrated
        return {"step": 1 / (1 / step + 1 / alone)}
    rates: dict[Limiter, float] = {
        "step": step,
        "workers": made.supply * gain * min(workers, made.usable_cores) / calibrated,
    }
    if made.decode_per_core:
        # CPU time for one image: decoding in a worker, and computing or launching in the trainer.
        computing = made.steps[-1].cpu_seconds / made.steps[-1].batch_size
        rates["cores"] = made.usable_cores / (1 / (made.decode_per_core * gain) + computing)
    return rates


def _step_rate(made: Calibration, batch_size: int) -> float:
    """Images per second of the step alone: its time grows linearly with the batch."""
    last = made.steps[-1]
    if len(made.steps) == 1 or batch_size == last.batch_size:
        return last.batch_size / last.seconds
    first = made.steps[0]
    each = (last.seconds - first.seconds) / (last.batch_size - first.batch_size)
    fixed = last.seconds - each * last.batch_size
    if each <= 0 or fixed < 0:
        # The measured times are not linear (noise): time proportional to the batch is the cautious assumption.
        return last.batch_size / last.seconds
    return batch_size / (fixed + each * batch_size)


def memory_of(made: Calibration, batch_size: int) -> int | None:
    """Peak bytes of training with `batch_size`; None where memory was not measured at two batch sizes."""
    if len(made.steps) < 2:
        return None
    first, last = made.steps[0], made.steps[-1]
    if first.peak_bytes is None or last.peak_bytes is None or last.peak_bytes <= first.peak_bytes:
        return None
    each = (last.peak_bytes - first.peak_bytes) / (last.batch_size - first.batch_size)
    return max(0, round(last.peak_bytes + each * (batch_size - last.batch_size)))


def largest_batch(made: Calibration, memory: int | None, share: float = _VRAM_SHARE) -> int | None:
    """The largest batch_size within `share` of `memory` bytes; None where it is unknown."""
    at_none = memory_of(made, 0)
    at_thousand = memory_of(made, 1000)
    if memory is None or at_none is None or at_thousand is None or at_thousand <= at_none:
        return None
    return max(0, int((memory * share - at_none) / ((at_thousand - at_none) / 1000)))
