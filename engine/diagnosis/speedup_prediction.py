"""Predicted speed after a change of settings: the minimum of the workers', the cores' and the device's rate. Pure.

The model: W workers make W / t samples a second, where t is a sample's wall time in a worker. The free cores make
free_cores / t_cpu. The device takes its present rate without the waits. Over five workloads the minimum was within
−4…+11 % of the rate measured after the change. The predicted range lies below the minimum, since a bound is never
exceeded for long.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec
from msgspec import Struct

from gputrain.engine.common.units import per_second
from gputrain.engine.diagnosis.device_bound_fixes import smaller_buckets
from gputrain.engine.diagnosis.windows.signals import Signals
from gputrain.engine.events import Prediction, Tuned

LOW = 0.88
"""Share of a bound that is reached at least."""
FOREIGN_CORES = 0.25
"""Cores used by other programs above which nothing is predicted: their use may change at any time."""
_MOST_PER_CORE = 4
"""Most workers per usable core."""
_LEAST_SECONDS = 1e-7
"""Least CPU time of a sample, in seconds, that can be measured."""
_UNEVEN = 4.0
"""Slowest over mean sample time from which the cost of a shorter queue cannot be predicted."""
_WORDS = {"workers": "the workers", "cores": "the CPU's cores", "device": "the device"}

_TOO_LITTLE = "too few measurements for a number"
_STEP = "the new step time can only be measured"
_UNTRIED = {
    "cache": "the time for a cached image can only be measured",
    "loader": "the effect of worker processes can only be measured",
    "async_checkpoints": "the time for the copy in memory can only be measured",
    **dict.fromkeys(
        ("batch_size", "precision", "compile", "compile_mode", "channels_last", "gradient_checkpointing"), _STEP
    ),
}
"""Settings whose effect cannot be predicted, and why."""
_RARER = {"checkpoint_steps", "checkpoint_epochs", "validate_epochs"}

Limiter = Literal["workers", "cores", "device"]


class Bounds(Struct, frozen=True):
    """Images per second that each part of the pipeline could deliver alone."""

    per_worker: float
    cores: float
    device: float

    def rate(self, workers: int) -> tuple[float, Limiter]:
        """Images per second with `workers` workers, and the limiting part."""
        parts: list[tuple[float, Limiter]] = [
            (max(1, workers) * self.per_worker, "workers"),
            (self.cores, "cores"),
            (self.device, "device"),
        ]
        return min(parts)


def bounds(s: Signals) -> Bounds | None:
    """The bounds; None where too little was measured."""
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
    """The number of workers that the cores or the device can use; None where that was not measured."""
    found = bounds(s)
    if found is None:
        return None
    most = math.ceil(_MOST_PER_CORE * (s.usable_cores or 1.0))
    return max(1, min(most, math.ceil(min(found.cores, found.device) / found.per_worker - 0.05)))


def more_workers(s: Signals) -> float | None:
    """How many more workers the cores or the device could use; None where that was not measured."""
    useful = useful_workers(s)
    return None if useful is None else float(max(0, useful - s.workers))


def predict(s: Signals, changes: dict[str, Any]) -> Prediction | None:
    """The predicted throughput after `changes`, summed over all ranks; None without changes."""
    found = _for_one_rank(s, changes)
    if found is None:
        return None
    found = msgspec.structs.replace(found, unit=s.unit)
    if s.ranks == 1:
        return found
    times = {name: value * s.ranks for name in ("low", "high", "now") if (value := getattr(found, name)) is not None}
    return msgspec.structs.replace(found, **times)


def _for_one_rank(s: Signals, changes: dict[str, Any]) -> Prediction | None:
    if not changes:
        return None
    if s.rate is None:
        return Prediction(void=_TOO_LITTLE)
    if changes.keys() <= _RARER:
        return _with_fewer_stops(s, s.rate, changes)
    why = _why_unpredictable(s, changes)
    if why:
        return Prediction(void=why)
    found = _expected(s, changes)
    if found is None:
        return Prediction(void=_TOO_LITTLE)
    low, high, limiter = found
    if _is_less(s, changes):
        # The change saves memory: the prediction shows the cost beside the present rate.
        return Prediction(round(low, 1), round(high, 1), limiter, now=round(s.rate, 1))
    return Prediction(low=round(max(low, 0.97 * s.rate), 1), high=round(max(high, s.rate), 1), limiter=limiter)


def _is_less(s: Signals, changes: dict[str, Any]) -> bool:
    now = {"num_workers": s.workers, "prefetch_factor": s.setting("prefetch_factor", 0)}
    return any(name in changes and changes[name] < value for name, value in now.items())


def _with_fewer_stops(s: Signals, rate: float, changes: dict[str, Any]) -> Prediction:
    """The rate with fewer checkpoints or validations, computed from their measured time.

    Whether fewer best checkpoints are saved is not known, so that the range begins below the full gain.
    """
    (name, value), *_ = changes.items()
    only_best = not s.setting("checkpoint_epochs", 1) and not s.setting("checkpoint_steps", 0)
    if name != "validate_epochs":
        stops, sure = s.saving, 0.5
    else:
        stops, sure = (s.validating + s.saving, 0.5) if only_best else (s.validating, LOW)
    training = 1 - s.saving - s.validating
    times = value / s.setting(name, 1) if s.setting(name, 1) else 0.0
    if training <= 0 or times <= 1:
        return Prediction(void=_TOO_LITTLE)
    now = rate * training
    after = now / (1 - stops * (1 - 1 / times))
    low = now + sure * (after - now)
    return Prediction(round(low, 1), round(after, 1), "training itself", now=round(now, 1), stops=True)


def was_reverted(trial: Tuned) -> Prediction:
    """A prediction without numbers for a change that was reverted; its text has the measured rates."""
    if trial.before is None or trial.after is None:
        return Prediction(void="tried in this run and reverted")
    gain = f"{trial.before:.0f} → {trial.after:.0f} {per_second(trial.unit)}"
    return Prediction(void=f"tried at step {trial.step} and reverted: {gain}")


def _why_unpredictable(s: Signals, changes: dict[str, Any]) -> str:
    """Why nothing can be predicted; empty if something can."""
    for name, why in _UNTRIED.items():
        if name in changes:
            return why
    if (s.foreign_cpu or 0.0) > FOREIGN_CORES:
        return f"other programs use {s.foreign_cpu:.1f} cores, and that may change"
    fewer_ahead = changes.get("prefetch_factor", math.inf) < s.setting("prefetch_factor", 0)
    if fewer_ahead and s.slowness is not None and s.slowness >= _UNEVEN:
        return "some samples are slow, and the effect of a shorter queue on them is not known"
    if s.setting("cache", "none") != "none" and s.epoch == 0:
        return "the cache is still being filled"
    return ""


def _expected(s: Signals, changes: dict[str, Any]) -> tuple[float, float, str] | None:
    """Lowest and highest expected images per second, and the limiting part."""
    rate, device = s.rate, s.device_rate
    if rate is None or device is None:
        return None
    if "num_workers" in changes:
        return _with_workers(s, changes["num_workers"])
    if "prefetch_factor" in changes:
        return _with_prefetch(s, rate, changes["prefetch_factor"])
    if "persistent_workers" in changes:
        without = rate / max(0.05, 1 - s.first_wait)
        return LOW * without, without, _WORDS["device"]
    if "bucket_mib" in changes:
        smaller = smaller_buckets(s)
        hidden = (s.least_exchange or 0.0) * (smaller[1] if smaller else 0.0)
        return rate / (1 - hidden / 2), rate / (1 - hidden), _WORDS["device"]
    if {"gradient_compression", "accumulation_steps"} & changes.keys():
        # Half the bytes, or half as often. Rounding to bf16 takes time, too: at least a quarter of the time is gained.
        exposed = s.least_exchange or 0.0
        return rate / (1 - exposed / 4), rate / (1 - exposed / 2), _WORDS["device"]
    if {"pin_memory", "non_blocking"} & changes.keys():
        without = rate / max(0.05, 1 - (s.exposed_copy or 0.0))
        # Pinned copies take time too; at least half of the exposed copy time is gained.
        return rate + (without - rate) / 2, without, _WORDS["device"]
    return None


def _with_workers(s: Signals, workers: int) -> tuple[float, float, str] | None:
    found = bounds(s)
    if found is None or s.rate is None:
        return None
    if workers < s.workers and s.run_delay:
        # The workers take turns on the cores. Fewer workers wait less; no worker waits once there are no more than ran
        # at the same time.
        ran = max(0.05, 1 - s.run_delay)
        found = msgspec.structs.replace(found, per_worker=found.per_worker / ran * min(1.0, ran * s.workers / workers))
    high, limiter = found.rate(workers)
    return LOW * high, high, _WORDS[limiter]


def _with_prefetch(s: Signals, rate: float, batches: int) -> tuple[float, float, str] | None:
    """Prefetched batches do not make the workers faster, but keep all of them busy."""
    found = bounds(s)
    if found is None:
        return None
    if batches < s.setting("prefetch_factor", 0):
        # Where all samples take about the same time, a longer queue gains little.
        return LOW * rate, rate, _WORDS[found.rate(s.workers)[1]]
    high, limiter = found.rate(s.workers)
    # The gain of a longer queue depends on how rare the slow samples are.
    return rate + max(0.0, high - rate) / 3, high, _WORDS[limiter]
