"""What a calibration foretells of a run: images per second, what limits them, times, the largest batch. Pure.

The workers and the step are a pipeline: the slower one decides. On the CPU both want the same cores, so that a third
limit is the cores' time for an image, decoding and computing together. What the three leave out (waits at the start of
epochs, memory bandwidth, the interpreter) is in the factor between the rate that was measured with both at work and
the rate that the limits give for that measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gputrain.engine.estimates import cache_speedup
from gputrain.engine.estimates.cache_speedup import CacheSpeedup
from gputrain.engine.estimates.calibration import Calibration
from gputrain.engine.events.speed_forecast import Limiter, SpeedForecast

_LEAST_SPREAD = 0.07
"""Half-width of the forecast's range at least: runs of the same settings differ by about so much."""
_MOST_SPREAD = 0.9
"""The same at most: a measurement that varied more says only that little is known."""
_VRAM_SHARE = 0.92
"""Share of a GPU's memory that a batch may take: what the context and fragmentation need is outside."""


def forecast(
    made: Calibration,
    values: Mapping[str, Any],
    *,
    memory: int | None,
    ram_available: int,
    shm_free: int | None = None,
) -> SpeedForecast:
    """The forecast for the settings `values`, which `made` holds for.

    `memory`: bytes of the device that trains (the GPU's, or what the process may use); `ram_available`: bytes of host
    memory that can be had; `shm_free`: bytes that can be written to ``/dev/shm`` (None: unbounded).
    """
    rate, limiter, rates = _rate(made, values, cache_speedup.cache_speedup(made, values, ram_available, shm_free))
    spread = min(_MOST_SPREAD, max(_LEAST_SPREAD, made.spread / made.together))
    low, high = rate * (1 - spread), rate * (1 + spread)
    first = rate
    if values["cache"] != "none":
        # The epoch that fills the cache.
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
    """Images per second, what limits them, and the rate of each part if it were the only one."""
    rates = _limits(made, values["num_workers"], values["batch_size"], effect.gain)
    before = _limits(made, made.num_workers, made.batch_size, 1.0)
    factor = made.together / min(before.values())
    if made.num_workers and not values["num_workers"]:
        factor = 1.0  # nothing overlaps: the two times simply add up
    reached = {name: rate * factor for name, rate in rates.items()}
    if made.disk_rate and effect.disk_bytes:
        reached["disk"] = rates["disk"] = made.disk_rate / (effect.disk_bytes / made.train_images)
    limiter = min(reached, key=lambda name: reached[name])
    rate = reached[limiter]
    # Nothing is faster together than alone: a part that was measured as slower had the machine for itself less.
    return rate, limiter, {name: max(alone, rate) for name, alone in rates.items()}


def _times(made: Calibration, values: Mapping[str, Any], rate: float, first: float) -> tuple[float, float]:
    """Seconds of an epoch with its validation, and of the run, whose first epoch goes at the rate `first`."""
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
    """The rate of each part of the pipeline, if it were the only one, with workers `gain` times as fast as measured."""
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
        # A core's time for one image: decoded by a worker, and computed or launched by the trainer.
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
        # Noise: the time is not linear as measured, and proportional is the cautious answer.
        return last.batch_size / last.seconds
    return batch_size / (fixed + each * batch_size)


def memory_of(made: Calibration, batch_size: int) -> int | None:
    """Bytes that training with `batch_size` takes at most; None where they were not measured at two batch sizes."""
    if len(made.steps) < 2:
        return None
    first, last = made.steps[0], made.steps[-1]
    if first.peak_bytes is None or last.peak_bytes is None or last.peak_bytes <= first.peak_bytes:
        return None
    each = (last.peak_bytes - first.peak_bytes) / (last.batch_size - first.batch_size)
    return max(0, round(last.peak_bytes + each * (batch_size - last.batch_size)))


def largest_batch(made: Calibration, memory: int | None, share: float = _VRAM_SHARE) -> int | None:
    """The largest batch_size that stays within `share` of `memory` bytes; None where it is not known."""
    at_none = memory_of(made, 0)
    at_thousand = memory_of(made, 1000)
    if memory is None or at_none is None or at_thousand is None or at_thousand <= at_none:
        return None
    return max(0, int((memory * share - at_none) / ((at_thousand - at_none) / 1000)))
