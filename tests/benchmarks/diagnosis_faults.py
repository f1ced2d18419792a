"""The injected faults: how each is set up so that it costs a given share of the time."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Literal

from diagnosis_machine import MachineFault
from diagnosis_setup import AHEAD, WINDOW, SampleFault, Setup, Stall

Strength = Literal["strong", "mild"]

LOST: dict[Strength, tuple[float, float]] = {"strong": (0.30, 0.55), "mild": (0.08, 0.15)}
"""Share of the time that a fault is to cost, at least and at most."""
LOST_BESIDE: dict[Strength, tuple[float, float]] = {"strong": (0.25, 0.45), "mild": (0.12, 0.18)}
"""The same for faults other than waiting for data, of which less than 10 % is not a bottleneck."""
BATCH = 16
_EVERY = 0.7
"""Seconds of training between two checkpoints or validations."""
_START = 0.3
"""Seconds that worker processes need longer to begin where that is the fault."""


@dataclass(frozen=True)
class Costs:
    """Costs measured on this machine before."""

    sample: float
    """CPU-seconds of a sample."""
    restart: float
    """Seconds until new worker processes deliver."""
    file_bytes: float
    images: int
    cores: int


@dataclass(frozen=True)
class Draw:
    """The randomness of one trace."""

    folder: str
    seed: int
    lost: float
    """Share of the time to lose."""
    lost_beside: float
    dice: random.Random


def draw(folder: str, seed: int, strength: Strength) -> Draw:
    """The randomness of trace `seed`."""
    dice = random.Random(seed)
    return Draw(folder, seed, dice.uniform(*LOST[strength]), dice.uniform(*LOST_BESIDE[strength]), dice)


def healthy(costs: Costs, by: Draw, load: float = 0.5, batch: int = BATCH) -> Setup:
    """A device that uses `load` of what the cores could deliver."""
    rate = load * costs.cores / costs.sample
    workers = {"num_workers": costs.cores, "batch_size": batch}
    return Setup(by.folder, by.seed, workers, step=batch / rate * by.dice.uniform(1.0, 1.3))


def _starved(costs: Costs, by: Draw, capacity: float, workers: int, **settings: object) -> Setup:
    """A device that takes `capacity` samples a second and more."""
    step = BATCH / capacity * (1 - by.lost)
    return Setup(by.folder, by.seed, {"num_workers": workers, "batch_size": BATCH, **settings}, step=step)


def few_workers(costs: Costs, by: Draw) -> Setup:
    """One worker; in half of the traces its samples wait for something other than files."""
    sleep = by.dice.choice((0.0, 2 * costs.sample))
    setup = _starved(costs, by, 1 / (costs.sample + sleep), 1)
    return replace(setup, sample=SampleFault(sleep=sleep))


def no_workers(costs: Costs, by: Draw) -> Setup:
    """The loop prepares its batches itself, and is slower than the device."""
    return _starved(costs, by, 1 / costs.sample, 0)


def epoch_start(costs: Costs, by: Draw) -> Setup:
    """Short epochs, and worker processes that end with each epoch and start slowly."""
    setup = healthy(costs, by, load=0.4)
    length = (costs.restart + _START - AHEAD * setup.step) / by.lost
    own = {**setup.settings, "loader": "processes", "persistent_workers": False}
    sample = SampleFault(start=_START)
    return replace(setup, settings=own, sample=sample, epoch_seconds=length, window=max(WINDOW, 1.5 * length))


def quota(costs: Costs, by: Draw) -> Setup:
    """A cgroup that grants less than the samples need."""
    cores = 0.5 * costs.cores
    setup = _starved(costs, by, cores / costs.sample, costs.cores)
    return replace(setup, machine=MachineFault(quota=cores))


def affinity(costs: Costs, by: Draw) -> Setup:
    """Half of the cores."""
    cores = max(1, costs.cores // 2)
    setup = _starved(costs, by, cores / costs.sample, costs.cores)
    return replace(setup, machine=MachineFault(cores=cores))


def neighbour(costs: Costs, by: Draw) -> Setup:
    """Other programs that use the CPU."""
    burners = by.dice.choice((1, 2)) * costs.cores
    left = costs.cores * costs.cores / (costs.cores + burners)
    setup = _starved(costs, by, left / costs.sample, costs.cores)
    return replace(setup, machine=MachineFault(burners=burners))


def oversubscribed(costs: Costs, by: Draw) -> Setup:
    """Four workers per core."""
    return _starved(costs, by, costs.cores / costs.sample, 4 * costs.cores, prefetch_factor=2)


def saturated(costs: Costs, by: Draw) -> Setup:
    """As many workers as cores, and a device that is faster than both."""
    return _starved(costs, by, costs.cores / costs.sample, costs.cores)


def slow_samples(costs: Costs, by: Draw) -> Setup:
    """A few slow samples, and a short queue."""
    workers = max(2, costs.cores)
    setup = healthy(costs, by, load=0.35)
    rate = BATCH / setup.step
    ready = (workers + 1 + AHEAD) * setup.step
    slow = ready + (0.4 if by.lost > 0.2 else 0.15)
    # Each slow sample costs what the queue does not hide of it.
    often = by.lost / (1 - by.lost) / (slow - ready)
    count = max(1, round(often / rate * costs.images))
    indices = tuple(by.dice.sample(range(costs.images), count))
    own = {**setup.settings, "num_workers": workers, "prefetch_factor": 1}
    return replace(setup, settings=own, sample=SampleFault(slow=indices, slow_seconds=slow), window=1.5 * WINDOW)


def disk(costs: Costs, by: Draw) -> Setup:
    """A file system with slow reads, as over a network."""
    read = by.dice.uniform(5, 10) * costs.sample
    setup = _starved(costs, by, costs.cores / (costs.sample + read), costs.cores)
    return replace(setup, machine=MachineFault(read_wait=read), first_epoch=1)


def _throttled(costs: Costs, by: Draw) -> Setup:
    rate = 0.12 * costs.cores / costs.sample
    setup = _starved(costs, by, rate, costs.cores, prefetch_factor=2)
    machine = MachineFault(read_bps=int(rate * costs.file_bytes))
    return replace(setup, sample=SampleFault(uncached=True), machine=machine)


def cold(costs: Costs, by: Draw) -> Setup:
    """The first epoch, from a slow disk."""
    return _throttled(costs, by)


def thrash(costs: Costs, by: Draw) -> Setup:
    """A later epoch, whose files are no longer in memory."""
    return replace(_throttled(costs, by), first_epoch=2)


def lock(costs: Costs, by: Draw) -> Setup:
    """Workers of which only one runs at a time."""
    held = 4 * costs.sample
    setup = _starved(costs, by, 1 / held, 2 * costs.cores)
    return replace(setup, sample=SampleFault(locked=held))


def checkpoints(costs: Costs, by: Draw) -> Setup:
    """A checkpoint every 0.7 s."""
    setup = healthy(costs, by)
    steps = max(1, round(_EVERY / setup.step))
    stall = Stall("saves", steps * setup.step * by.lost_beside / (1 - by.lost_beside))
    return replace(setup, settings={**setup.settings, "checkpoint_steps": steps}, stall=stall)


def validation(costs: Costs, by: Draw) -> Setup:
    """A validation every 0.7 s."""
    stall = Stall("validates", _EVERY * by.lost_beside / (1 - by.lost_beside), every=_EVERY)
    return replace(healthy(costs, by), stall=stall)


def launch(costs: Costs, by: Draw) -> Setup:
    """Tiny batches, and a host that is slower than the device."""
    setup = healthy(costs, by, load=0.25, batch=4)
    whole = min(0.025, setup.step)
    return replace(setup, step=whole * (1 - by.lost_beside), host=whole)


def host(costs: Costs, by: Draw) -> Setup:
    """Long steps that the host delays."""
    setup = healthy(costs, by)
    whole = max(0.06, setup.step)
    return replace(setup, step=whole * (1 - by.lost_beside), host=whole)


def copying(costs: Costs, by: Draw) -> Setup:
    """Copies without overlap."""
    setup = healthy(costs, by)
    own = {**setup.settings, "pin_memory": False}
    return replace(setup, settings=own, step=setup.step * (1 - by.lost_beside), copy=setup.step * by.lost_beside)


def ram(costs: Costs, by: Draw) -> Setup:
    """A cgroup whose memory limit the run nearly reaches."""
    return replace(healthy(costs, by), machine=MachineFault(ram_share=by.dice.uniform(0.93, 0.96)))
