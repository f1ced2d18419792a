"""Scripted signals, and the hints for them."""

from __future__ import annotations

from typing import Any

from gputrain.engine.common.units import GIB
from gputrain.engine.diagnosis.rules import evaluate
from gputrain.engine.diagnosis.windows.signals import Signals
from gputrain.engine.events import Hint

SETTINGS = {"num_workers": 4, "batch_size": 32, "prefetch_factor": 2, "persistent_workers": True, "cache": "none"}
SETTINGS |= {"compile": False, "channels_last": True, "tf32": True}
GPU: dict[str, Any] = {
    "on_gpu": True,
    "precision": "bf16",
    "capability": 8.6,
    "utilization": 40.0,
    "usable_cores": 16.0,
    "host_cores": 16,
    "affinity": 16,
    "cpu": 30.0,
    "run_cpu": 4.8,
    "foreign_cpu": 0.0,
    "throttled": 0.0,
    "workers": 4,
    "kind": "threads",
    "rate": 1000.0,
    "sample_rate": 1000.0,
    "busy": 0.97,
    "cpu_ratio": 0.9,
    "run_delay": 0.02,
    "read_share": 0.1,
    "lock_share": 0.03,
    "from_disk": 0.0,
    "data_bytes": GIB,
    "ram_used": 0.4,
    "ram_total": 64 * GIB,
    "slowest": 0.005,
    "wait_cv": 2.0,
    "wait": 0.4,
    "compute": 0.58,
}
"""Fully busy workers, and too few of them."""
FULL = {**GPU, "cpu": 99.0, "usable_cores": 4.0, "affinity": 4, "host_cores": 4, "run_cpu": 3.9, "workers": 3}
STARVED = {**FULL, "run_delay": 0.6, "cpu_ratio": 0.38}
READING = {**GPU, "read_share": 0.9, "cpu_ratio": 0.06}
FED = {**GPU, "wait": 0.01, "busy": 0.3, "compute": 0.97, "utilization": 97.0}
"""A GPU whose data arrive in time."""
CPU = {**FED, "on_gpu": False, "utilization": None, "precision": "fp32", "usable_cores": 4.0, "workers": 2}


def judged(base: dict[str, Any], changed: dict[str, Any] | None = None, **more: Any) -> dict[str, Hint]:
    return evaluate(Signals(settings={**SETTINGS, **(changed or {})}, **{**base, **more}))
