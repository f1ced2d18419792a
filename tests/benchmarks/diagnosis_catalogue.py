"""The faults by name with their expected hints: single, in pairs, with the real trainer, on a GPU; and healthy runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import diagnosis_faults as faults
import diagnosis_gpu
import diagnosis_healthy
from diagnosis_faults import Costs, Draw
from diagnosis_machine import MachineFault
from diagnosis_setup import SampleFault, Setup


@dataclass(frozen=True)
class Fault:
    """A fault, and the hints that are right for it."""

    make: Callable[[Costs, Draw], Setup]
    causes: frozenset[str]
    """Of a pair, those of both."""
    parts: tuple[frozenset[str], ...] = ()
    """Of a pair, those of each."""


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
HEALTHY = {name: _fault(make, "compute-bound") for name, make in diagnosis_healthy.MAKERS.items()}
GPU = {name: _fault(make, *causes) for name, (make, causes) in diagnosis_gpu.MAKERS.items()}


def _pair(first: str, second: str) -> Fault:
    """Both faults: the loader's from the first, other losses from the second."""

    def make(costs: Costs, by: Draw) -> Setup:
        base, beside = FAULTS[first].make(costs, by), FAULTS[second].make(costs, by)
        share = beside.copy / (beside.copy + beside.step)
        # As often in time as beside the other device: steps that wait for data are longer.
        steps = max(1, round(beside.settings.get("checkpoint_steps", 0) * beside.step / base.step * (1 - by.lost)))
        stops = {"checkpoint_steps": steps} if "checkpoint_steps" in beside.settings else {}
        return replace(
            base,
            # A long queue would fill while the loop stalls, and hide the other fault.
            settings={**base.settings, **({"prefetch_factor": 1} if beside.stall else {"pin_memory": False}), **stops},
            copy=base.step * share,
            step=base.step * (1 - share),
            stall=beside.stall,
            window=max(base.window, beside.window),
        )

    parts = FAULTS[first].causes, FAULTS[second].causes
    return Fault(make, parts[0] | parts[1], parts)


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


def _real(
    sample: Callable[[Costs, Draw], SampleFault], read_wait: float = 0.0, **settings: object
) -> Callable[[Costs, Draw], Setup]:
    def make(costs: Costs, by: Draw) -> Setup:
        wait = read_wait * by.dice.uniform(1, 2)
        own = {"num_workers": 1, **settings}
        machine = MachineFault(read_wait=wait)
        return Setup(by.folder, by.seed, own, sample=sample(costs, by), machine=machine, window=4.0)

    return make


def _fine(costs: Costs, by: Draw) -> SampleFault:
    return SampleFault()


def _sleepy(costs: Costs, by: Draw) -> SampleFault:
    return SampleFault(sleep=by.dice.uniform(2, 4) * costs.sample)


REAL = {
    "trainer healthy": _fault(_real(_fine, width=48), "cpu-compute", "compute-bound"),
    "trainer no-workers": _fault(_real(_sleepy, num_workers=0), "no-workers"),
    "trainer few-workers": _fault(
        _real(lambda costs, by: SampleFault(sleep=by.dice.uniform(0.01, 0.02))), "few-workers"
    ),
    "trainer disk": _fault(_real(_fine, read_wait=0.008), "disk"),
    "trainer lock": _fault(_real(lambda costs, by: SampleFault(locked=0.01), num_workers=4), "lock"),
    "trainer validation": _fault(_real(_fine, val_split="train", max_steps=0, width=32), "validation"),
}
"""With the real trainer on the CPU."""
