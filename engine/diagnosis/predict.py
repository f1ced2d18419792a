"""What a change is expected to bring: the smallest of what workers, cores and the device could do. Pure.

The model: W workers make W / t samples a second, where t is a sample's time in a worker; the cores that are free for
them make free / t_cpu; the device takes what it took between waits. Over five workloads it was within −4…+11 % of
what was measured after the change; a bound is never exceeded for long, so the range is below it.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from msgspec import Struct

from gputrain.engine.diagnosis.signals import Signals
from gputrain.engine.events import Prediction

LOW = 0.88
"""Least of a bound that is reached."""
FOREIGN_CORES = 0.25
"""Cores of others above which nothing is promised: what they will use next is theirs to decide."""
_MOST_PER_CORE = 4
"""Workers for each usable core at most, however much they wait."""
_LEAST_SECONDS = 1e-7
"""CPU time of a sample that a clock can tell."""
_WORDS = {"workers": "the workers", "cores": "the CPU's cores", "device": "the device"}

Limiter = Literal["workers", "cores", "device"]


class Bounds(Struct, frozen=True):
    """Images per second that each part could deliver."""

    per_worker: float
    cores: float
    device: float

    def rate(self, workers: int) -> tuple[float, Limiter]:
        """Images per second with so many workers, and what limits them."""
        parts: list[tuple[float, Limiter]] = [
            (max(1, workers) * self.per_worker, "workers"),
            (self.cores, "cores"),
            (self.device, "device"),
        ]
        return min(parts)


def bounds(s: Signals) -> Bounds | None:
    """The bounds, where enough was measured."""
    per_sample = s.seconds_per_sample
    if per_sample is None or s.cpu_ratio is None or s.device_rate is None or s.free_cores is None:
        return None
    if per_sample * s.cpu_ratio < _LEAST_SECONDS:
        return None
    return Bounds(1 / per_sample, _cores_rate(s, per_sample * s.cpu_ratio), s.device_rate)


def _cores_rate(s: Signals, cpu_per_sample: float) -> float:
    """Samples per second that the cores allow."""
    assert s.free_cores is not None
    if s.on_gpu or not s.run_cpu or not s.rate:
        return s.free_cores / cpu_per_sample
    # The trainer's own work grows with the rate when the CPU is the device.
    free = max(0.0, (s.usable_cores or 0.0) - (s.foreign_cpu or 0.0))
    return free / (s.run_cpu / s.rate)


def useful_workers(s: Signals) -> int | None:
    """As many workers as the cores or the device can use; None where that was not measured."""
    found = bounds(s)
    if found is None:
        return None
    most = math.ceil(_MOST_PER_CORE * (s.usable_cores or 1.0))
    return max(1, min(most, math.ceil(min(found.cores, found.device) / found.per_worker - 0.05)))


def more_workers(s: Signals) -> float | None:
    """How many more workers would be of use."""
    useful = useful_workers(s)
    return None if useful is None else float(max(0, useful - s.workers))


def predict(s: Signals, changes: dict[str, Any]) -> Prediction | None:
    """What `changes` would bring; None without changes."""
    if not changes:
        return None
    why = _void(s, changes)
    if why:
        return Prediction(void=why)
    found = _expected(s, changes)
    if found is None or s.rate is None:
        return Prediction(void="too little was measured for a figure")
    low, high, limiter = found
    return Prediction(low=round(max(low, 0.97 * s.rate), 1), high=round(max(high, s.rate), 1), limiter=limiter)


def _void(s: Signals, changes: dict[str, Any]) -> str:
    """Why nothing can be promised; empty if something can."""
    if (s.foreign_cpu or 0.0) > FOREIGN_CORES:
        return f"others use {s.foreign_cpu:.1f} cores: what they leave may change"
    if "cache" in changes:
        return "what an image from the cache costs is known when the first are in it"
    if s.setting("cache", "none") != "none" and s.epoch == 0:
        return "the cache is still being filled"
    alters = {"batch_size", "precision", "compile", "channels_last", "gradient_checkpointing"} & changes.keys()
    return "what a step costs then is known when it is tried" if alters else ""


def _expected(s: Signals, changes: dict[str, Any]) -> tuple[float, float, str] | None:
    """Least and most images per second, and the limiter."""
    rate, device = s.rate, s.device_rate
    if rate is None or device is None:
        return None
    if "num_workers" in changes:
        return _with_workers(s, changes["num_workers"])
    if "prefetch_factor" in changes:
        return _with_prefetch(s, rate)
    if "persistent_workers" in changes:
        without = rate / max(0.05, 1 - s.first_wait)
        return LOW * without, without, _WORDS["device"]
    if {"pin_memory", "non_blocking"} & changes.keys():
        without = rate / max(0.05, 1 - (s.exposed_copy or 0.0))
        # Page-locked copies take time too; half of what they took is gained at least.
        return rate + (without - rate) / 2, without, _WORDS["device"]
    return None


def _with_workers(s: Signals, workers: int) -> tuple[float, float, str] | None:
    found = bounds(s)
    if found is None or s.rate is None:
        return None
    if workers < s.workers:
        return 0.97 * s.rate, 1.05 * s.rate, _WORDS["cores"]
    high, limiter = found.rate(workers)
    return LOW * high, high, _WORDS[limiter]


def _with_prefetch(s: Signals, rate: float) -> tuple[float, float, str] | None:
    """Batches ahead cannot make the workers faster, but let them all work."""
    found = bounds(s)
    if found is None:
        return None
    high, limiter = found.rate(s.workers)
    # How much a longer queue evens out depends on how rare the slow ones are.
    return rate + max(0.0, high - rate) / 3, high, _WORDS[limiter]
