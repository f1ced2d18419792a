"""What helps when the training loop waits for data: the action, and settings that would put it into effect. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gputrain.engine.configuration.engine_choice import is_keras
from gputrain.engine.configuration.run_config import UNCACHED
from gputrain.engine.diagnosis.script_advice import is_script
from gputrain.engine.diagnosis.speedup_prediction import useful_workers
from gputrain.engine.diagnosis.tree import Fix, amount
from gputrain.engine.diagnosis.windows.signals import Signals

Maker = Callable[[Signals], Fix]

WORKER_SHARE = 0.75
"""Share of the usable cores for workers; the rest is for the trainer (seed 003: 12 of 16)."""
_MOST_PREFETCH = 32
"""Batches for each worker that are proposed at most, unless there are more already."""
_LOCAL = 0.05
"""Share of the bytes read from which a disk of this machine is what is waited for."""
_RAM_FOR_CACHE = 0.80
"""Share of used memory above which no cache in RAM is proposed."""


def most_workers(s: Signals) -> int:
    """Workers that leave the trainer its part of the usable cores; 1 where those are unknown."""
    return max(1, int(WORKER_SHARE * (s.usable_cores or 1)))


def fits(s: Signals) -> float | None:
    """1 if the memory that is free would hold the files that one epoch reads; None where nobody knows."""
    if s.data_bytes is None or s.ram_used is None or s.ram_total is None:
        return None
    return float(s.data_bytes <= (1 - s.ram_used) * s.ram_total)


def can_cache(s: Signals) -> bool:
    """Whether a cache has an effect on the run's data."""
    return s.setting("dataset", "") not in UNCACHED and not is_keras(s.settings) and not is_script(s.settings)


def epoch_start(s: Signals) -> Fix:
    """Workers that stay."""
    if not s.setting("persistent_workers", True) and not is_keras(s.settings):
        return Fix("Keep the workers alive between epochs: persistent_workers=true.", {"persistent_workers": True})
    return Fix("The queue is empty when an epoch begins; within the epoch the data keeps up. Longer epochs hide it.")


def no_workers(s: Signals) -> Fix:
    """A few."""
    useful = useful_workers(s)
    wanted = max(1, min(useful, most_workers(s) + 1)) if useful is not None else min(2, most_workers(s))
    return Fix(
        f"Let workers prepare them while the device computes: num_workers={wanted}.",
        {"num_workers": wanted},
    )


def quota(s: Signals) -> Fix:
    """Nothing that a setting could do."""
    return Fix("Raise the container's CPU quota, or make the images cheaper to prepare; more workers cannot help.")


def affinity(s: Signals) -> Fix:
    """So."""
    return Fix(
        "Start the run with more cores (taskset, cpuset, the batch system's --cpus-per-task), unless the few are "
        "meant; more workers cannot help."
    )


def neighbour(s: Signals) -> Fix:
    """So."""
    named = f" (most: {', '.join(s.cpu_neighbours[:2])})" if s.cpu_neighbours else ""
    return Fix(
        f"Others used {amount(s.foreign_cpu, 'cores')} cores{named}: move or renice them; more workers would only "
        "share what is left."
    )


def oversubscribed(s: Signals) -> Fix:
    """As many as there are cores for."""
    wanted = max(1, int(s.usable_cores or 1))
    if s.on_gpu and wanted > 2:
        wanted = most_workers(s)
    return Fix(
        f"The workers take turns on the cores: num_workers={wanted} frees memory, and costs or gains little speed.",
        {"num_workers": wanted} if wanted < s.workers else {},
    )


def saturated(s: Signals) -> Fix:
    """Cheaper images."""
    why = (
        "All cores are busy, so more workers cannot help"
        if s.on_gpu
        else "Training and preparing images share the cores, so more workers take them from the training"
    )
    return Fix(f"{why}: {_cheaper(s)}.", cache_changes(s))


def cold(s: Signals) -> Fix:
    """Patience."""
    return Fix("Wait: the next epochs read them from memory, where there is room for all. Change nothing for this.")


def thrash(s: Signals) -> Fix:
    """Smaller files, or a part of them in memory."""
    if s.setting("cache", "none") != "none":
        return Fix("More RAM, a faster disk or smaller images; more workers help little.")
    if not can_cache(s):
        return Fix(f"The files are more than the free RAM holds: {_cheaper(s)}; more workers help little.")
    return Fix(
        "The files are more than the free RAM holds: keep prepared images on disk (cache=disk), which are smaller; "
        "more workers help little.",
        {"cache": "disk"},
    )


def _waiting_at_once(s: Signals) -> int:
    """Workers that would be of use where a data set of one's own waits for no disk of this machine; 0: none known.

    Requests to a network can be under way at the same time, where one disk's would only share it.
    """
    useful = useful_workers(s)
    if s.setting("dataset", "") != "custom" or s.from_disk is None or s.from_disk >= _LOCAL or useful is None:
        return 0
    return useful if useful > s.workers else 0


def disk(s: Signals) -> Fix:
    """More that wait at the same time, a cache, or a faster disk."""
    if wanted := _waiting_at_once(s):
        return Fix(
            "What they wait for comes from no disk of this machine, and more of them can wait at the same time: "
            f"num_workers={wanted}, as far as the other end serves so many.",
            {"num_workers": wanted},
        )
    if s.setting("cache", "none") != "none":
        early = " This is the first epoch, in which the cache is filled." if s.epoch == 0 else ""
        return Fix(f"More workers help little: a faster disk would.{early}")
    if not can_cache(s):
        return Fix("More workers help little: keep the data on a faster disk, or in fewer or smaller files.")
    return Fix(
        "More workers help little: keep the data on a faster disk, or prepared images in RAM (cache=ram).",
        cache_changes(s),
    )


def lock(s: Signals) -> Fix:
    """What the data set does."""
    if s.kind == "threads":
        return Fix(
            "More workers cannot help: something in them (the interpreter, a data set's lock) lets one work at a time. "
            "Processes do not share the interpreter: loader=processes.",
            {"loader": "processes"},
        )
    return Fix("More workers cannot help: the data set lets one work at a time; give each worker a handle of its own.")


def shared_wait(s: Signals) -> Fix:
    """What more of them cannot mend."""
    if s.kind == "threads" and s.setting("dataset", "") != "custom":
        return Fix(
            "More of them gain little: they may wait for the interpreter, which processes do not share: "
            "loader=processes.",
            {"loader": "processes"},
        )
    return Fix(
        "More of them gain little: look for what the data set lets one do at a time: a lock, a file handle or "
        "database that all share, one disk."
    )


def helper_threads(s: Signals) -> Fix:
    """One thread for each worker."""
    return Fix(
        "Libraries in the workers start threads of their own: start the run with OMP_NUM_THREADS=1, "
        "MKL_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1, and where the data set uses OpenCV call cv2.setNumThreads(0)."
    )


def slow_samples(s: Signals) -> Fix:
    """A longer queue."""
    prefetch = _prefetch_over(s)
    named = f" The slowest was {s.slowest_image} ({amount(s.slowest, 'seconds')})." if s.slowest_image else ""
    return Fix(
        f"Keep more batches ready: prefetch_factor={prefetch}; or repair the slow files.{named}",
        {"prefetch_factor": prefetch},
    )


def _prefetch_over(s: Signals) -> int:
    """Batches a worker that last as long as the slowest sample takes; twice as many as now where that is unknown."""
    now = s.setting("prefetch_factor", 2)
    batch, workers = s.setting("batch_size", None), max(1, s.workers)
    if s.slowest is None or s.device_rate is None or not batch:
        return int(2 * now)
    needed = math.ceil(s.slowest * s.device_rate / batch / workers) + 1
    return int(max(now + 1, min(max(2 * now, needed), max(_MOST_PREFETCH, 2 * now))))


def few_workers(s: Signals) -> Fix:
    """As many as the cores or the device can use."""
    wanted = useful_workers(s) or s.workers + 1
    return Fix(f"num_workers={wanted}: the workers are busy and cores are idle.", {"num_workers": wanted})


def at_limit(s: Signals) -> Fix:
    """Cheaper images."""
    return Fix(f"The cores leave no room for more workers beside the trainer: {_cheaper(s)}.", cache_changes(s))


def unexplained(s: Signals) -> Fix:
    """An experiment."""
    if s.core_wait is None and s.busy is not None:
        return Fix(
            "All cores are in use, and this kernel does not tell (no schedstat) whether the workers wait for them or "
            "for something else: end what else computes, and look again."
        )
    return Fix("What was measured fits no single cause: compare num_workers values with a short run of each.")


def cache_changes(s: Signals) -> dict[str, Any]:
    """A cache in RAM takes only what is free (cache_gib); one on disk would be read from the same disk."""
    room = s.ram_used is None or s.ram_used < _RAM_FOR_CACHE
    return {"cache": "ram"} if room and can_cache(s) and s.setting("cache", "none") == "none" else {}


def _cheaper(s: Signals) -> str:
    if not can_cache(s):
        return "use samples that were made smaller, or prepared, beforehand"
    if s.setting("cache", "none") == "none":
        return "keep prepared images in a cache, or use smaller images"
    if s.epoch == 0:
        return "the cache is being filled in this first epoch; later ones need less"
    return "use smaller images, or images that were made smaller beforehand"
