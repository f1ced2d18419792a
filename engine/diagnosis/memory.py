"""Whether the RAM that the run may use is nearly gone."""

from __future__ import annotations

from typing import Any, Literal

from gputrain.engine.diagnosis.advice import Advice, percent
from gputrain.engine.diagnosis.signals import Signals
from gputrain.engine.units import size

RAM_FULL, RAM_CRITICAL = 0.90, 0.97
_FEW = 0.30
"""Share of the used memory below which the run is not the one that could give it back."""


def ram_pressure(s: Signals) -> Advice | None:
    """By what is available under the limit: memory that caches hold is not counted as used."""
    if s.ram_used is None or s.ram_total is None or s.ram_used <= RAM_FULL:
        return None
    used = s.ram_used * s.ram_total
    evidence = f"{percent(s.ram_used)} of {size(s.ram_total)} cannot be had without swapping"
    if s.run_memory is not None:
        evidence += f"; the run's processes hold {size(s.run_memory)}"
    if s.setting("cache", "none") == "ram":
        evidence += "; the cache of images (cache=ram) is part of it"
    severity: Literal["warning", "critical"] = "critical" if s.ram_used > RAM_CRITICAL else "warning"
    if s.run_memory is not None and s.run_memory < _FEW * used:
        return Advice(severity, "RAM is nearly used up, mostly by others", evidence, "End or move the other programs.")
    changes = _less_memory(s)
    return Advice(severity, "RAM is nearly used up", evidence, _action(s, changes), changes)


def _less_memory(s: Signals) -> dict[str, Any]:
    """The mildest change that frees memory: fewer batches ahead, then fewer workers, then smaller batches."""
    prefetch, batch = s.setting("prefetch_factor", 1), s.setting("batch_size", 1)
    if s.workers and prefetch > 1:
        return {"prefetch_factor": prefetch // 2}
    if s.workers > 1:
        return {"num_workers": s.workers // 2}
    return {"batch_size": batch // 2} if batch > 1 else {}


def _action(s: Signals, changes: dict[str, Any]) -> str:
    if "prefetch_factor" in changes:
        return f"Keep fewer batches ready: prefetch_factor={changes['prefetch_factor']}."
    if "num_workers" in changes:
        return f"Use fewer than {s.workers} workers: each holds batches, and as a process its own memory."
    if "batch_size" in changes:
        return "Use smaller batches."
    return "The run is as small as its settings can make it: free memory elsewhere."
