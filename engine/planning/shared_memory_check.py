"""Whether ``/dev/shm`` has room for the run: rules over a draft of the settings. Pure functions.

Caches in memory are in ``/dev/shm``, and so are batches that torch's DataLoader gets from the workers of a custom data
set. Batches of the engine's own worker processes are in a memfd (`training.workers.slot_buffer`).
"""

from __future__ import annotations

from gputrain.engine.common.units import size
from gputrain.engine.estimates import host_memory
from gputrain.engine.estimates.host_memory import RamBudget
from gputrain.engine.hardware.machine import SHM
from gputrain.engine.planning.plan_draft import PlanDraft

_LARGER = "docker run --shm-size makes it larger"


def check_batches(draft: PlanDraft, ram: RamBudget) -> None:
    """Refuse a custom data set whose batches do not fit: torch's workers end with SIGBUS when ``/dev/shm`` is full."""
    free = draft.machine.shm_free
    if host_memory.batches_in_shm(draft.values) and ram.buffer > free:
        what = f"{SHM} has {size(free)} free, and the batches of a custom data set take {size(ram.buffer)}"
        draft.add_estimate(what, True, f"lower num_workers or prefetch_factor; num_workers=0 needs none; {_LARGER}")


def check_cache(draft: PlanDraft, ram: RamBudget) -> None:
    """Warn about a cache that keeps only some of the images; refuse one that keeps less than 1 %."""
    values, room = draft.values, ram.cache
    if values["cache"] != "ram" or values["dataset"] in host_memory.UNCACHED:
        return
    if not draft.machine.shm_total:
        draft.refusals.append(f"cache: ram needs {SHM}, which does not exist; cache=disk works without it")
        return
    if room is None or room.share == 1.0 or (room.bound == "cache_gib" and room.share >= host_memory.LEAST_CACHED):
        return
    what = f"cache: ram keeps {room.share:.0%} of the images, {size(room.allowed)} of {size(room.needed)}"
    advice = {
        "shm": f"{SHM} has {size(draft.machine.shm_free)} free; cache=disk does not need it, {_LARGER}",
        "RAM": "no more memory is available; cache=disk does not need it",
        "cache_gib": "raise cache_gib",
    }[room.bound]
    draft.add_estimate(what, room.share < host_memory.LEAST_CACHED, advice)
