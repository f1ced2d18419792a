"""Healthy runs, alone and beside other programs: any hint is a false alarm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from diagnosis_faults import BATCH, Costs, Draw, healthy
from diagnosis_machine import MachineFault
from diagnosis_setup import SampleFault, Setup, Stall


def well(costs: Costs, by: Draw) -> Setup:
    """Workers that are faster than the device."""
    return healthy(costs, by, load=by.dice.choice((0.2, 0.35, 0.5)))


def processes(costs: Costs, by: Draw) -> Setup:
    """The same with worker processes."""
    setup = healthy(costs, by, load=0.35)
    return replace(setup, settings={**setup.settings, "loader": "processes"})


def one_worker(costs: Costs, by: Draw) -> Setup:
    """One worker, which is enough."""
    step = BATCH * costs.sample * by.dice.uniform(1.8, 2.5)
    return Setup(by.folder, by.seed, {"num_workers": 1, "batch_size": BATCH}, step=step)


def uneven(costs: Costs, by: Draw) -> Setup:
    """Steps of varying length."""
    return replace(healthy(costs, by, load=0.35), jitter=0.3)


def saves(costs: Costs, by: Draw) -> Setup:
    """Checkpoints that take some percent of the time."""
    setup = healthy(costs, by, load=0.35)
    steps = max(1, round(1.5 / setup.step))
    own = {**setup.settings, "checkpoint_steps": steps}
    return replace(setup, settings=own, stall=Stall("saves", steps * setup.step * by.dice.uniform(0.02, 0.06)))


def slow_storage(costs: Costs, by: Draw) -> Setup:
    """A slow file system, and as many workers as it takes."""
    read = 4 * costs.sample
    capacity = 4 * costs.cores / (costs.sample + read)
    step = BATCH / capacity * by.dice.uniform(2.0, 2.6)
    settings = {"num_workers": 4 * costs.cores, "batch_size": BATCH}
    return Setup(by.folder, by.seed, settings, step=step, machine=MachineFault(read_wait=read), first_epoch=1)


def rare_slow(costs: Costs, by: Draw) -> Setup:
    """A rare slow sample, and a queue that is long enough for it."""
    setup = healthy(costs, by, load=0.35)
    own = {**setup.settings, "prefetch_factor": 8}
    indices = tuple(by.dice.sample(range(costs.images), 2))
    return replace(setup, settings=own, sample=SampleFault(slow=indices, slow_seconds=4 * setup.step))


def _beside(**others: int) -> Callable[[Costs, Draw], Setup]:
    def make(costs: Costs, by: Draw) -> Setup:
        load = by.dice.choice((0.15, 0.25))
        return replace(healthy(costs, by, load=load), machine=MachineFault(**others))

    return make


crowded, bursts, reader = _beside(burners=1), _beside(bursts=1), _beside(readers=1)
"""Beside a program that computes, one that does so now and then, and one that reads from the disk."""

MAKERS: dict[str, Callable[[Costs, Draw], Setup]] = {
    "healthy": well,
    "healthy, processes": processes,
    "healthy, one worker": one_worker,
    "healthy, uneven steps": uneven,
    "healthy, checkpoints": saves,
    "healthy, slow storage": slow_storage,
    "healthy, rare slow samples": rare_slow,
    "healthy, co-tenant": crowded,
    "healthy, co-tenant in bursts": bursts,
    "healthy, co-tenant that reads": reader,
}
