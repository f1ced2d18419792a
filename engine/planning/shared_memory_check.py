"""What lies in ``/dev/shm``, and whether there is room for it: rules over a draft of the settings. Pure functions.

The batches of our own worker processes do not: they are in a memfd (`training.workers.slot_buffer`). Caches in memory
do, and what torch's DataLoader hands over from the workers of a data set of one's own.
"""

from __future__ import annotations

from gputrain.engine.common.units import size
from gputrain.engine.estimates import host_memory
from gputrain.engine.estimates.host_memory import RamBudget
from gputrain.engine.hardware.machine import SHM
from gputrain.engine.planning.plan_draft import PlanDraft

_LARGER = "docker run --shm-size makes it larger"


def check_batches(draft: PlanDraft, ram: RamBudget) -> None:
    """Torch's workers die of a bus error where ``/dev/shm`` is full."""
    free = draft.machine.shm_free
    if host_memory.batches_in_shm(draft.values) and ram.buffer > free:
        what = f"{SHM} has {size(free)} free, and the batches of a data set of one's own take {size(ram.buffer)}"
        draft.weigh(what, True, f"lower num_workers or prefetch_factor; num_workers=0 needs none, {_LARGER}")


def check_cache(draft: PlanDraft, ram: RamBudget) -> None:
    """A cache keeps as many images as there is room for, and gives up below one in a hundred."""
    values, room = draft.values, ram.cache
    if values["cache"] != "ram" or values["dataset"] in host_memory.UNCACHED:
        return
    if not draft.machine.shm_total:
        draft.refusals.append(f"cache: ram lies in {SHM}, and there is none; cache=disk needs none")
        return
    if room is None or room.share == 1.0 or (room.bound == "cache_gib" and room.share >= host_memory.LEAST_CACHED):
        return
    what = f"cache: ram keeps {room.share:.0%} of the images, {size(room.allowed)} of the {size(room.needed)} of all"
    advice = {
        "shm": f"{SHM} has {size(draft.machine.shm_free)} free; cache=disk needs none of it, {_LARGER}",
        "RAM": "no more of the memory is to be had; cache=disk needs none of it",
        "cache_gib": "a larger cache_gib",
    }[room.bound]
    draft.weigh(what, room.share < host_memory.LEAST_CACHED, advice)
