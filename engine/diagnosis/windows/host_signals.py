"""Signals of the host in a window: its cores, its memory, and the other programs on it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gputrain.engine.diagnosis.windows.mean_of_known import mean
from gputrain.engine.events import HardwareSample

_MEANS = ("run_cpu", "foreign_cpu", "psi_io", "psi_memory_full")


def host_signals(samples: Sequence[HardwareSample], usable_cores: float | None) -> dict[str, Any]:
    """Fields of `Signals`; empty without samples. `usable_cores`: those at the start, for samples that lack them."""
    if not samples:
        return {}
    newest = samples[-1]
    used = None
    if newest.ram_total and newest.ram_available is not None:
        used = 1 - newest.ram_available / newest.ram_total
    shm = newest.shm_used / newest.shm_total if newest.shm_total and newest.shm_used is not None else None
    return {
        "usable_cores": newest.usable_cores or usable_cores,
        "host_cores": newest.host_cores or None,
        "cpu_neighbours": tuple(one.name or f"pid {one.pid}" for one in newest.other_processes),
        "affinity": len(newest.per_core) or None,
        **{name: _mean_of(samples, name) for name in _MEANS},
        "cpu": _mean_of(samples, "cpu_percent"),
        "throttled": _throttled(samples),
        "ram_used": used,
        "ram_total": newest.ram_total,
        "run_memory": _run_memory(newest),
        "shm_used": shm,
    }


def _throttled(samples: Sequence[HardwareSample]) -> float | None:
    """Share of the quota periods that were throttled; 0 without a quota."""
    newest, found = samples[-1], _mean_of(samples, "throttled_share")
    unlimited = bool(newest.per_core) and newest.usable_cores >= len(newest.per_core)
    return 0.0 if found is None and unlimited else found


def _mean_of(samples: Sequence[HardwareSample], name: str) -> float | None:
    return mean((getattr(one, name), one.interval) for one in samples)


def _run_memory(sample: HardwareSample) -> int | None:
    """Bytes of the run's processes: PSS; else RSS, which counts shared pages per process, up to all used memory."""
    if sample.run_pss is not None or sample.run_rss is None:
        return sample.run_pss
    if sample.ram_total is None or sample.ram_available is None:
        return sample.run_rss
    return min(sample.run_rss, sample.ram_total - sample.ram_available)
