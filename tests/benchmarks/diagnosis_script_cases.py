"""Five faults and four healthy settings of training scripts, the same for each framework.

The device is a pause in the step: it takes time and no CPU. Everything else is real: the script's loader and workers,
the files, their decoding, the limits of the kernel.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from diagnosis_machine import MachineFault

SCRIPTS = Path(__file__).with_name("user_scripts")
FRAMEWORKS = {"plain": "plain_loop.py", "lightning": "lightning_loop.py", "transformers": "hf_trainer.py"}
PACKAGES = {"plain": "torch", "lightning": "lightning", "transformers": "transformers"}
"""What each framework's script imports."""
SAMPLE_SECONDS = 0.004
"""CPU time of a sample: an image is decoded as often as that takes."""
_BATCH = 16
_LOST = (0.35, 0.55)
"""Share of the time that a fault is to cost."""


@dataclass(frozen=True)
class Costs:
    """Of this machine."""

    sample: float
    """CPU-seconds of a sample that is decoded `decodes` times."""
    decodes: int
    cores: int


@dataclass(frozen=True)
class ScriptSetup:
    """What a script is started with."""

    arguments: dict[str, float]
    """Options of the script, without dashes."""
    machine: MachineFault = field(default_factory=MachineFault)
    in_memory: bool = False
    """It reads no files."""


@dataclass(frozen=True)
class ScriptCase:
    """A fault, or a healthy setting."""

    make: Callable[[Costs, random.Random], ScriptSetup]
    causes: frozenset[str]
    """Hints that name it."""
    traceml: frozenset[str] = frozenset()
    """Words of traceml's advice that name it."""


def _starved(costs: Costs, dice: random.Random, capacity: float, workers: int, **more: float) -> dict[str, float]:
    """Arguments for a device that takes more than the `capacity` samples a second that the loader makes."""
    step = _BATCH / capacity * (1 - dice.uniform(*_LOST))
    return {"workers": workers, "batch": _BATCH, "step": step, "decodes": costs.decodes, **more}


def few_workers(costs: Costs, dice: random.Random) -> ScriptSetup:
    """One worker, or none."""
    return ScriptSetup(_starved(costs, dice, 1 / costs.sample, dice.choice((0, 1))))


def decoding(costs: Costs, dice: random.Random) -> ScriptSetup:
    """Images that cost more than all cores can do."""
    return ScriptSetup(_starved(costs, dice, costs.cores / costs.sample, costs.cores))


def slow_reads(costs: Costs, dice: random.Random) -> ScriptSetup:
    """A file system with slow reads, as over a network."""
    read = costs.sample * dice.uniform(3, 6)
    # A file is read until its end, which is a second, empty read.
    arguments = _starved(costs, dice, costs.cores / (costs.sample + 2 * read), costs.cores)
    return ScriptSetup(arguments, MachineFault(read_wait=read))


def lock(costs: Costs, dice: random.Random) -> ScriptSetup:
    """A lock that only one worker holds at a time."""
    held = 3 * costs.sample
    return ScriptSetup(_starved(costs, dice, 1 / held, 2 * costs.cores, locked=held))


def quota(costs: Costs, dice: random.Random) -> ScriptSetup:
    """A cgroup that grants half of the cores."""
    cores = 0.5 * costs.cores
    return ScriptSetup(_starved(costs, dice, cores / costs.sample, costs.cores), MachineFault(quota=cores))


def neighbour(costs: Costs, dice: random.Random) -> ScriptSetup:
    """In place of the quota where no cgroup can be made: programs that keep all cores busy."""
    setup = _starved(costs, dice, costs.cores / 2 / costs.sample, costs.cores)
    return ScriptSetup(setup, MachineFault(burners=costs.cores))


def enough(costs: Costs, dice: random.Random) -> ScriptSetup:
    """Workers that are faster than the device."""
    step = _BATCH * costs.sample / costs.cores / dice.uniform(0.25, 0.4)
    return ScriptSetup({"workers": costs.cores, "batch": _BATCH, "step": step, "decodes": costs.decodes})


def one_worker(costs: Costs, dice: random.Random) -> ScriptSetup:
    """One worker, which is enough."""
    step = _BATCH * costs.sample * dice.uniform(1.8, 2.5)
    return ScriptSetup({"workers": 1, "batch": _BATCH, "step": step, "decodes": costs.decodes})


def in_memory(costs: Costs, dice: random.Random) -> ScriptSetup:
    """Samples that are in memory, and no workers."""
    return ScriptSetup({"workers": 0, "batch": _BATCH, "step": dice.uniform(0.03, 0.08)}, in_memory=True)


def on_the_cpu(costs: Costs, dice: random.Random) -> ScriptSetup:
    """A model that the CPU itself computes, and one worker."""
    return ScriptSetup({"workers": 1, "batch": 64, "layers": dice.choice((150, 250))}, in_memory=True)


_FINE = frozenset({"compute-bound", "cpu-compute"})
FAULTS = {
    "few workers": ScriptCase(few_workers, frozenset({"few-workers", "no-workers"}), frozenset({"workers"})),
    "CPU-bound decoding": ScriptCase(decoding, frozenset({"cpu-saturated", "workers-at-limit"})),
    "slow reads": ScriptCase(slow_reads, frozenset({"disk"}), frozenset({"storage"})),
    "shared lock": ScriptCase(lock, frozenset({"lock"})),
    "CPU quota": ScriptCase(quota, frozenset({"cpu-quota"})),
}
NEIGHBOUR = ScriptCase(neighbour, frozenset({"cpu-neighbour"}))
HEALTHY = {
    "healthy, enough workers": ScriptCase(enough, _FINE),
    "healthy, one worker": ScriptCase(one_worker, _FINE),
    "healthy, data in memory": ScriptCase(in_memory, _FINE),
    "healthy, computed on the CPU": ScriptCase(on_the_cpu, _FINE),
}


def command(python: str, framework: str, setup: ScriptSetup, folder: str, out: str, seconds: float) -> list[str]:
    """The script's command, that ends by itself after `seconds` of training."""
    words = [python, str(SCRIPTS / FRAMEWORKS[framework]), "" if setup.in_memory else folder, "--out", out]
    for name, value in {**setup.arguments, "seconds": seconds}.items():
        words += [f"--{name}", f"{value:g}"]
    return words
