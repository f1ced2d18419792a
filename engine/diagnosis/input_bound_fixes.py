"""Remedies when the training loop waits for data. Pure.

Each function returns the `Fix` of one cause: the action in words, and the settings that carry it out, if any.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gputrain.engine.configuration.engine_choice import is_keras
from gputrain.engine.configuration.sections.data_settings import UNCACHED
from gputrain.engine.diagnosis.script_advice import FILE_BYTES, is_script
from gputrain.engine.diagnosis.speedup_prediction import useful_workers
from gputrain.engine.diagnosis.tree_nodes import Fix, amount
from gputrain.engine.diagnosis.windows.signals import Signals
from gputrain.engine.estimates.worker_count import worker_limit

Maker = Callable[[Signals], Fix]

_MOST_PREFETCH = 32
"""Largest prefetch_factor that is proposed, unless the run has a larger one already."""
_LOCAL = 0.05
"""Share of the bytes read from a local disk from which that disk is what the workers wait for."""
_RAM_FOR_CACHE = 0.80
"""Share of used memory from which no cache in RAM is proposed."""


def _most_workers(s: Signals) -> int:
    """Workers that leave the trainer its share of the usable cores; 1 where the cores are unknown."""
    return worker_limit(s.usable_cores or 1)


def fits(s: Signals) -> float | None:
    """1 if free memory would hold the files that one epoch reads, else 0; None where one of the sizes is unknown."""
    if s.data_bytes is None or s.ram_used is None or s.ram_total is None:
        return None
    return float(s.data_bytes <= (1 - s.ram_used) * s.ram_total)


def can_cache(s: Signals) -> bool:
    """Whether the image cache works for the run's data set and engine."""
    return s.setting("dataset", "") not in UNCACHED and not is_keras(s.settings) and not is_script(s.settings)


def epoch_start(s: Signals) -> Fix:
    """Persistent workers."""
    if not s.setting("persistent_workers", True) and not is_keras(s.settings):
        return Fix("Keep the workers alive between epochs: persistent_workers=true.", {"persistent_workers": True})
    return Fix(
        "The prefetch queue is empty when an epoch starts; later in the epoch the data keeps up. Longer epochs make "
        "this loss smaller."
    )


def no_workers(s: Signals) -> Fix:
    """A first number of workers."""
    useful = useful_workers(s)
    wanted = max(1, min(useful, _most_workers(s) + 1)) if useful is not None else min(2, _most_workers(s))
    return Fix(
        f"Let data workers prepare the images while the device computes: num_workers={wanted}.",
        {"num_workers": wanted},
    )


def quota(s: Signals) -> Fix:
    """A higher quota; no setting helps."""
    return Fix("Raise the container's CPU quota, or make the images cheaper to prepare. More workers cannot help.")


def affinity(s: Signals) -> Fix:
    """More cores; no setting helps."""
    return Fix(
        "Start the run with more cores (taskset, cpuset, the batch system's --cpus-per-task), unless this limit is "
        "intended. More workers cannot help."
    )


def neighbour(s: Signals) -> Fix:
    """Cores back from other programs; no setting helps."""
    named = f" (most: {', '.join(s.cpu_neighbours[:2])})" if s.cpu_neighbours else ""
    return Fix(
        f"Other programs used {amount(s.foreign_cpu, 'cores')} cores{named}. Move, stop or renice them; more workers "
        "would only share the remaining cores."
    )


def oversubscribed(s: Signals) -> Fix:
    """One worker per usable core; on a GPU fewer."""
    wanted = worker_limit(s.usable_cores or 1, 1.0)
    if s.on_gpu and wanted > 2:
        wanted = _most_workers(s)
    return Fix(
        f"The workers take turns on the cores. Use fewer: num_workers={wanted} frees memory and changes the speed "
        "little.",
        {"num_workers": wanted} if wanted < s.workers else {},
    )


def saturated(s: Signals) -> Fix:
    """Cheaper image preparation."""
    why = (
        "All cores are busy, so more workers cannot help."
        if s.on_gpu
        else "Training and image preparation share the cores, so more workers would slow the training down."
    )
    return Fix(f"{why} {_cheaper(s)}.", cache_changes(s))


def cold(s: Signals) -> Fix:
    """No action: later epochs read from the page cache."""
    return Fix("No action needed: free memory holds all files, so the next epochs read them from the page cache.")


def thrash(s: Signals) -> Fix:
    """Smaller files, or a cache of prepared images on disk."""
    if s.setting("cache", "none") != "none":
        return Fix("Use more RAM, a faster disk or smaller images. More workers help little.")
    if not can_cache(s):
        return Fix(f"The files are larger than free RAM. {_cheaper(s)}. More workers help little.")
    return Fix(
        "The files are larger than free RAM. Keep prepared images, which are smaller, on disk: cache=disk. More "
        "workers help little.",
        {"cache": "disk"},
    )


def _waiting_at_once(s: Signals) -> int:
    """Useful number of workers for a custom data set that reads over the network; 0 where no more would help.

    Network requests run at the same time; reads from one local disk would only share it.
    """
    useful = useful_workers(s)
    local = s.from_disk is None or s.from_disk >= _LOCAL
    if s.setting("dataset", "") != "custom" or (local and not reads_no_files(s)) or useful is None:
        return 0
    return useful if useful > s.workers else 0


def network(s: Signals) -> Fix:
    """What the network must deliver, a cache that holds all shards, or smaller images."""
    takes = ""
    if s.download_rate is not None:
        needed = s.download_rate / max(0.01, 1 - s.wait)
        takes = (
            f"Shards come at {amount(s.download_rate, 'bytes')}/s; for the device not to wait, it takes "
            f"{amount(needed, 'bytes')}/s. "
        )
    limited = float(s.setting("remote_cache_gib", 0.0)) > 0
    if s.epoch == 0:
        room = ", as far as remote_cache_gib allows" if limited else ", as far as the disk has room"
        return Fix(f"{takes}Later epochs read the shards from the local cache{room}. More workers help little.")
    cache = "raise remote_cache_gib" if limited else "free space on the cache's disk"
    return Fix(
        f"{takes}To keep all shards on this machine, {cache}; or move the run to the data's region, or make the images "
        "smaller with gputrain-tui pack --short-side. More workers help little."
    )


def disk(s: Signals) -> Fix:
    """More parallel requests, a cache, or a faster disk."""
    if reads_no_files(s):
        return _waits_elsewhere(s)
    if wanted := _waiting_at_once(s):
        return Fix(
            "The data does not come from a local disk, and more workers can wait for it at the same time: "
            f"num_workers={wanted}, if the server can serve that many.",
            {"num_workers": wanted},
        )
    if s.setting("cache", "none") != "none":
        early = " The cache is still being filled in this first epoch." if s.epoch == 0 else ""
        return Fix(f"Use a faster disk; more workers help little.{early}")
    if not can_cache(s):
        return Fix("Keep the data on a faster disk, or in fewer or smaller files. More workers help little.")
    return Fix(
        "Keep the data on a faster disk, or prepared images in RAM (cache=ram). More workers help little.",
        cache_changes(s),
    )


def reads_no_files(s: Signals) -> bool:
    """Whether the workers of a user's own script wait for something that is no file: hardly a byte is read."""
    return is_script(s.settings) and s.bytes_per_sample is not None and s.bytes_per_sample < FILE_BYTES


def _waits_elsewhere(s: Signals) -> Fix:
    if wanted := _waiting_at_once(s):
        return Fix(
            "The data set waits for a server, a pause or another process, and more workers can wait at the same time: "
            f"num_workers={wanted}.",
            {"num_workers": wanted},
        )
    return Fix("Look in the data set for what it waits for: a server, a pause, another process.")


def lock(s: Signals) -> Fix:
    """Worker processes, or one file handle per worker."""
    if s.kind == "threads":
        return Fix(
            "A lock (Python's GIL, or one in the data set) lets one worker thread run at a time, so more workers "
            "cannot help. Worker processes do not share the GIL: loader=processes.",
            {"loader": "processes"},
        )
    return Fix(
        "A lock in the data set lets one worker run at a time, so more workers cannot help. Open the file or database "
        "once per worker."
    )


def shared_wait(s: Signals) -> Fix:
    """Worker processes, or a search for the shared resource."""
    if s.kind == "threads" and s.setting("dataset", "") != "custom":
        return Fix(
            "More workers gain little. They may wait for Python's GIL, which worker processes do not share: "
            "loader=processes.",
            {"loader": "processes"},
        )
    return Fix(
        "More workers gain little. Look in the data set for what only one worker can use at a time: a lock, a shared "
        "file handle or database, one disk."
    )


def helper_threads(s: Signals) -> Fix:
    """One thread per worker, by environment variables."""
    return Fix(
        "Libraries in the workers start threads of their own. Start the run with OMP_NUM_THREADS=1, "
        "MKL_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1; if the data set uses OpenCV, call cv2.setNumThreads(0)."
    )


def slow_samples(s: Signals) -> Fix:
    """A longer prefetch queue."""
    prefetch = _prefetch_over(s)
    named = f" The slowest was {s.slowest_image} ({amount(s.slowest, 'seconds')})." if s.slowest_image else ""
    return Fix(
        f"Prefetch more batches (prefetch_factor={prefetch}), or replace the slow files.{named}",
        {"prefetch_factor": prefetch},
    )


def _prefetch_over(s: Signals) -> int:
    """A prefetch_factor whose batches last as long as the slowest sample takes; twice the present one if unknown."""
    now = s.setting("prefetch_factor", 2)
    batch, workers = s.setting("batch_size", None), max(1, s.workers)
    if s.slowest is None or s.device_rate is None or not batch:
        return int(2 * now)
    needed = math.ceil(s.slowest * s.device_rate / batch / workers) + 1
    return int(max(now + 1, min(max(2 * now, needed), max(_MOST_PREFETCH, 2 * now))))


def few_workers(s: Signals) -> Fix:
    """As many workers as the cores or the device can use."""
    wanted = useful_workers(s) or s.workers + 1
    return Fix(f"Use more workers, as cores are idle: num_workers={wanted}.", {"num_workers": wanted})


def at_limit(s: Signals) -> Fix:
    """Cheaper image preparation."""
    return Fix(f"No core is free for more workers beside the trainer. {_cheaper(s)}.", cache_changes(s))


def unexplained(s: Signals) -> Fix:
    """An experiment that separates the causes."""
    if s.core_wait is None and s.busy is not None:
        return Fix(
            "All cores are in use, and this kernel has no schedstat to show whether the workers wait for a core or for "
            "something else. Stop other programs and measure again."
        )
    return Fix("The measurements fit no single cause. Compare several num_workers values in short runs.")


def cache_changes(s: Signals) -> dict[str, Any]:
    """``cache: ram`` where memory has room; a cache on disk would be read from the same disk. Empty otherwise."""
    room = s.ram_used is None or s.ram_used < _RAM_FOR_CACHE
    return {"cache": "ram"} if room and can_cache(s) and s.setting("cache", "none") == "none" else {}


def _cheaper(s: Signals) -> str:
    if not can_cache(s):
        return "Make the samples smaller, or prepare them, before training"
    if s.setting("cache", "none") == "none":
        return "Keep prepared images in a cache (cache=ram or disk), or use smaller images"
    if s.epoch == 0:
        return "The cache is being filled in this first epoch; later epochs need less time"
    return "Use smaller images, or resize the files before training"
