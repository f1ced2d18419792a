"""Why the training loop waits for data: one cause at a time, the first of a tree whose signals fit.

Thresholds are proposals that were tried on two-core machines with a simulated accelerator, not yet on GPUs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from msgspec import Struct

from gputrain.engine.diagnosis.advice import Advice, most_workers, percent
from gputrain.engine.diagnosis.signals import Signals

MUCH_WAIT, CRITICAL_WAIT = 0.10, 0.20
"""Shares of the time; a wait below the first is nobody's bottleneck."""
_AT_EPOCH_START = 0.5
_DELAYED, _THROTTLED, _READING = 0.25, 0.05, 0.50
_CPU_FULL = 95.0
_BUSY, _SLACK = 0.90, 0.70
_CACHED = 0.05
"""Share of the bytes from a disk below which the page cache served them."""
_FREE_CORE, _FOREIGN, _CROWDED = 0.5, 0.5, 0.25
_RAM_FOR_CACHE = 0.80
"""Share of used memory above which no cache in RAM is proposed."""


class _Cause(Struct, frozen=True):
    """A node of the tree: when it is the cause, and what to say then."""

    holds: Callable[[Signals], bool]
    advise: Callable[[Signals], Advice]


def judge_of(name: str) -> Callable[[Signals], Advice | None]:
    """The rule that speaks when `name` is the cause."""

    def judge(s: Signals) -> Advice | None:
        return CAUSES[name].advise(s) if cause(s) == name else None

    return judge


def cause(s: Signals) -> str | None:
    """Name of what the loop waits for; while it hardly waits, only too many workers count, else None."""
    if s.wait < MUCH_WAIT:
        return "oversubscribed" if _is_oversubscribed(s) and not is_crowded(s) else None
    return next(name for name, node in CAUSES.items() if node.holds(s))


def _severity(s: Signals) -> Literal["info", "warning", "critical"]:
    if s.wait >= CRITICAL_WAIT:
        return "critical"
    return "warning" if s.wait >= MUCH_WAIT else "info"


def _evidence(s: Signals, *more: str) -> str:
    seen = [f"the loop waited for data {percent(s.wait)} of the time"]
    if s.utilization is not None:
        seen.append(f"GPU utilization {s.utilization:.0f} %")
    return ", ".join([*seen, *(part for part in more if part)])


def _cpu(s: Signals) -> str:
    if s.cpu is None or s.usable_cores is None:
        return "CPU use unknown"
    return f"CPU {s.cpu:.0f} % of {s.usable_cores:g} usable cores"


def _workers(s: Signals) -> str:
    busy = "" if s.busy is None else f" busy {percent(s.busy)} of the time"
    return f"{_count(s.workers)}{busy}"


def _count(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"


def _delay(s: Signals) -> str:
    return "" if s.run_delay is None else f"workers wanted a core and had none {percent(s.run_delay)} of their time"


def _is_full(s: Signals) -> bool:
    return s.cpu is not None and s.cpu >= _CPU_FULL


def _delayed(s: Signals) -> bool:
    return s.run_delay is not None and s.run_delay >= _DELAYED


def _restarts(s: Signals) -> Advice:
    changes = {} if s.setting("persistent_workers", True) else {"persistent_workers": True}
    return Advice(
        _severity(s),
        "The loop waits at the start of each epoch",
        _evidence(s, f"{percent(s.first_wait / s.wait)} of it for the first batch of an epoch"),
        "Keep the workers alive between epochs: persistent_workers=true."
        if changes
        else "The queue is empty when an epoch begins; within the epoch the data keeps up.",
        changes,
    )


def _none(s: Signals) -> Advice:
    limit = most_workers(s)
    wanted = 1 if limit is None else min(2, limit)
    return Advice(
        _severity(s),
        "Images are prepared by the training process itself",
        _evidence(s, "num_workers is 0"),
        f"Let workers prepare them while the device computes: num_workers={wanted}.",
        {"num_workers": wanted},
    )


def _quota(s: Signals) -> Advice:
    return Advice(
        _severity(s),
        "The cgroup's CPU quota holds the workers back",
        _evidence(s, f"the quota ran out in {percent(s.throttled or 0.0)} of its periods", _delay(s)),
        "Raise the container's CPU quota, or make the images cheaper to prepare; more workers cannot help.",
    )


def _neighbour(s: Signals) -> Advice:
    return Advice(
        _severity(s),
        "Other programs take the cores",
        _evidence(s, f"others used {s.foreign_cpu or 0:.1f} of {s.usable_cores or 0:g} usable cores", _delay(s)),
        "Move or renice the other programs; more workers would only share what is left.",
    )


def _oversubscribed(s: Signals) -> Advice:
    wanted = most_workers(s)
    return Advice(
        _severity(s),
        "More workers than cores",
        _evidence(s, _count(s.workers), _cpu(s), _delay(s)),
        f"The workers take turns on the cores: num_workers={wanted} frees memory, and costs or gains little speed.",
        {"num_workers": wanted},
    )


def _disk(s: Signals) -> Advice:
    pressure = "" if s.psi_io is None else f"tasks waited for I/O {percent(s.psi_io)} of the time"
    cached = s.setting("cache", "none") != "none"
    way = "a faster disk would help" if cached else "keep the data on a faster disk, or prepared images in RAM"
    action = f"More workers help little: {way}."
    if s.epoch == 0 and cached:
        action += " This is the first epoch, in which the cache is filled; later ones need the disk less."
    elif s.epoch == 0:
        action += " This is the first epoch: if the data fits in memory, the next ones read it from there."
    return Advice(
        _severity(s),
        "Reading the files holds the training up",
        _evidence(s, f"workers spent {percent(s.read_share or 0.0)} of their time reading", pressure),
        action,
        _cache(s),
    )


def _cache(s: Signals) -> dict[str, Any]:
    """A cache in RAM takes only what is free (cache_gib); one on disk would be read from the same disk."""
    room = s.ram_used is None or s.ram_used < _RAM_FOR_CACHE
    return {"cache": "ram"} if room and s.setting("cache", "none") == "none" else {}


def _saturated(s: Signals) -> Advice:
    cached = s.setting("cache", "none") != "none"
    if not cached:
        way = "keep prepared images in a cache, or use smaller images"
    elif s.epoch == 0:
        way = "the cache is being filled in this first epoch; later ones need less CPU"
    else:
        way = "use smaller images, or images that were made smaller beforehand"
    if s.on_gpu:
        title, why = "Preparing images saturates the CPU", "All cores are busy, so more workers cannot help"
    else:
        title = "Training and preparing images share the CPU"
        why = "On the CPU both need the same cores, so more workers take them from the training"
    return Advice(_severity(s), title, _evidence(s, _cpu(s), _workers(s)), f"{why}: {way}.", _cache(s))


def _too_few(s: Signals) -> Advice:
    limit, idle = most_workers(s) or 1, s.idle_cores or 0.0
    wanted = min(limit, s.workers + max(1, int(idle)))
    return Advice(
        _severity(s),
        "Too few data workers",
        _evidence(s, _workers(s), f"{idle:.1f} of {s.usable_cores or 0:g} usable cores idle"),
        f"The workers are busy and cores are idle: num_workers={wanted}.",
        {"num_workers": wanted},
    )


def _at_limit(s: Signals) -> Advice:
    return Advice(
        _severity(s),
        "The data workers are the bottleneck",
        _evidence(s, _workers(s), _cpu(s)),
        f"{s.usable_cores or 0:g} usable cores leave no room for more of them beside the trainer: "
        "a cache or smaller images would save CPU time.",
        _cache(s),
    )


def _slow_samples(s: Signals) -> Advice:
    prefetch = s.setting("prefetch_factor", 2)
    return Advice(
        _severity(s),
        "Workers idle while the loop waits",
        _evidence(s, _workers(s)),
        "Some batches take much longer than others, and the rest wait behind them: keep more batches ready "
        f"(prefetch_factor={2 * prefetch}).",
        {"prefetch_factor": 2 * prefetch},
    )


def _unexplained(s: Signals) -> Advice:
    unknown = [
        words
        for words, value in (
            ("the workers' use of their time", s.busy),
            ("CPU use", s.cpu),
            ("the workers' waiting for a core", s.run_delay),
            ("the time spent reading", s.read_share),
        )
        if value is None
    ]
    missing = f"not measured here: {', '.join(unknown)}" if unknown else ""
    return Advice(
        _severity(s),
        "The loop waits for data",
        _evidence(s, _workers(s), _cpu(s), missing),
        "What was measured fits no single cause: compare num_workers values with a short run of each.",
    )


def _reads_slowly(s: Signals) -> bool:
    reading = s.read_share is not None and s.read_share >= _READING
    return reading and (s.from_disk is None or s.from_disk >= _CACHED)


def _others_take_cores(s: Signals) -> bool:
    # Without the kernel's figure of waiting for a core, a full CPU stands for it.
    short = _delayed(s) or (s.run_delay is None and _is_full(s))
    return short and foreign_share(s) >= _FOREIGN


def foreign_share(s: Signals) -> float:
    """Share of the usable cores that others keep busy; 0 while unknown, as nobody can be blamed then."""
    return (s.foreign_cpu or 0.0) / s.usable_cores if s.usable_cores else 0.0


def is_crowded(s: Signals) -> bool:
    """Whether others use a part of the cores that is worth a word."""
    return foreign_share(s) >= _CROWDED


def _is_oversubscribed(s: Signals) -> bool:
    return _delayed(s) and _is_full(s) and s.usable_cores is not None and s.workers > s.usable_cores


def _has_idle_cores(s: Signals) -> bool:
    return s.idle_cores is not None and s.idle_cores >= _FREE_CORE


def _all_busy(s: Signals) -> bool:
    return s.busy is not None and s.busy >= _BUSY


def _may_add(s: Signals) -> bool:
    return s.workers < (most_workers(s) or 0) and _all_busy(s) and _has_idle_cores(s)


CAUSES = {
    "epoch-start": _Cause(lambda s: s.first_wait >= _AT_EPOCH_START * s.wait, _restarts),
    "no-workers": _Cause(lambda s: s.workers == 0 and not _is_full(s), _none),
    "cpu-quota": _Cause(lambda s: _delayed(s) and (s.throttled or 0.0) >= _THROTTLED, _quota),
    "cpu-neighbour": _Cause(_others_take_cores, _neighbour),
    "oversubscribed": _Cause(
        _is_oversubscribed,
        _oversubscribed,
    ),
    "disk": _Cause(_reads_slowly, _disk),
    "cpu-saturated": _Cause(_is_full, _saturated),
    "few-workers": _Cause(_may_add, _too_few),
    "workers-at-limit": _Cause(_all_busy, _at_limit),
    "slow-samples": _Cause(lambda s: s.busy is not None and s.busy < _SLACK and s.workers > 1, _slow_samples),
    "data-wait": _Cause(lambda _: True, _unexplained),
}
"""In the order of the tree: what must be ruled out comes first; the last always fits."""
