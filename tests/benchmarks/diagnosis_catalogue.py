"""The faults by name with the hints that tell them: alone, in pairs, before the real trainer; and what is well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import diagnosis_faults as faults
from diagnosis_faults import Costs, Draw
from diagnosis_setup import SampleFault, Setup


@dataclass(frozen=True)
class Fault:
    """A fault, and the hints that name it."""

    make: Callable[[Costs, Draw], Setup]
    causes: frozenset[str]


def _fault(make: Callable[[Costs, Draw], Setup], *causes: str) -> Fault:
    return Fault(make, frozenset(causes))


FAULTS = {
    "few-workers": _fault(faults.few_workers, "few-workers"),
    "no-workers": _fault(faults.no_workers, "no-workers"),
    "epoch-start": _fault(faults.epoch_start, "epoch-start"),
    "cpu-quota": _fault(faults.quota, "cpu-quota"),
    "cpu-affinity": _fault(faults.affinity, "cpu-affinity"),
    "cpu-neighbour": _fault(faults.neighbour, "cpu-neighbour"),
    "oversubscribed": _fault(faults.oversubscribed, "oversubscribed"),
    "cpu-saturated": _fault(faults.saturated, "cpu-saturated", "workers-at-limit"),
    "slow-samples": _fault(faults.slow_samples, "slow-samples"),
    "disk": _fault(faults.disk, "disk"),
    "cold-cache": _fault(faults.cold, "cold-cache"),
    "cache-thrash": _fault(faults.thrash, "cache-thrash"),
    "lock": _fault(faults.lock, "lock"),
    "checkpoints": _fault(faults.checkpoints, "checkpoints"),
    "validation": _fault(faults.validation, "validation"),
    "launch-bound": _fault(faults.launch, "launch-bound"),
    "host-bound": _fault(faults.host, "host-bound"),
    "host-copy": _fault(faults.copying, "host-copy"),
    "ram-pressure": _fault(faults.ram, "ram-pressure"),
}
HEALTHY = {
    "healthy": _fault(faults.well, "compute-bound"),
    "healthy, co-tenant": _fault(faults.crowded, "compute-bound"),
}


def _pair(first: str, second: str) -> Fault:
    """Both faults: the loader's from the first, what else is lost from the second."""

    def make(costs: Costs, by: Draw) -> Setup:
        base, beside = FAULTS[first].make(costs, by), FAULTS[second].make(costs, by)
        share = beside.copy / (beside.copy + beside.step)
        return replace(
            base,
            # A long queue would fill while the loop stalls, and hide the other fault.
            settings={**base.settings, **({"prefetch_factor": 1} if beside.stall else {"pin_memory": False})},
            copy=base.step * share,
            step=base.step * (1 - share),
            stall=beside.stall,
            seconds=max(base.seconds, beside.seconds),
        )

    return Fault(make, FAULTS[first].causes | FAULTS[second].causes)


PAIRS = {
    f"{first} + {second}": _pair(first, second)
    for first, second in (
        ("few-workers", "checkpoints"),
        ("no-workers", "host-copy"),
        ("disk", "validation"),
        ("lock", "checkpoints"),
        ("cpu-saturated", "host-copy"),
        ("slow-samples", "validation"),
        ("cpu-affinity", "checkpoints"),
    )
}


def _real(sample: Callable[[Costs, Draw], SampleFault], **settings: object) -> Callable[[Costs, Draw], Setup]:
    def make(costs: Costs, by: Draw) -> Setup:
        return Setup(by.folder, by.seed, {"num_workers": 1, **settings}, sample=sample(costs, by), seconds=8.0)

    return make


def _fine(costs: Costs, by: Draw) -> SampleFault:
    return SampleFault()


REAL = {
    "healthy": _fault(_real(_fine, width=48), "cpu-compute", "compute-bound"),
    "no-workers": _fault(
        _real(lambda costs, by: SampleFault(read=by.dice.uniform(2, 4) * costs.sample), num_workers=0), "no-workers"
    ),
    "disk": _fault(_real(lambda costs, by: SampleFault(read=by.dice.uniform(0.02, 0.04))), "disk", "cold-cache"),
    "lock": _fault(_real(lambda costs, by: SampleFault(locked=0.02), num_workers=4), "lock"),
    "validation": _fault(_real(_fine, val_split="train", max_steps=0, width=32), "validation"),
}
"""With the real trainer on the CPU."""
