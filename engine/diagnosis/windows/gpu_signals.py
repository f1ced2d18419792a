"""Signals of the run's own GPU. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from gputrain.engine.diagnosis.windows.optional_means import mean
from gputrain.engine.events import GpuSample, HardwareSample, Steps


def gpu_signals(samples: Iterable[HardwareSample], steps: Iterable[Steps], device: str) -> dict[str, Any]:
    """The signals of `device` (``cuda:0``) by name; empty where no GPU can be read."""
    found = [(gpu, one.interval) for one in samples if (gpu := _sample_of(one, device)) is not None]
    if not found:
        return {}
    newest = found[-1][0]
    peaks = [one.vram_peak for one in steps if one.vram_peak is not None]
    reasons = Counter(reason for gpu, _ in found for reason in gpu.throttle)
    clocks = [(gpu.sm_clock / gpu.sm_clock_max, seconds) for gpu, seconds in found if gpu.sm_clock and gpu.sm_clock_max]
    return {
        "utilization": mean((gpu.utilization, seconds) for gpu, seconds in found),
        "sm_activity": mean((gpu.sm_activity, seconds) for gpu, seconds in found),
        "tensor_activity": mean((gpu.tensor_activity, seconds) for gpu, seconds in found),
        "clock": mean(clocks),
        "slowed_by": tuple(sorted(reason for reason, count in reasons.items() if 2 * count >= len(found))),
        "gpu_neighbours": tuple(one.name or f"pid {one.pid}" for one in newest.processes if not one.ours),
        "vram": max(peaks) / newest.memory_total if peaks and newest.memory_total else None,
    }


def _sample_of(sample: HardwareSample, device: str) -> GpuSample | None:
    """The sample of the run's own GPU, found by its CUDA index, which counts visible GPUs only."""
    number = device.partition(":")[2]
    if not device.startswith("cuda"):
        return None
    wanted = int(number) if number.isdigit() else 0
    return next((gpu for gpu in sample.gpus if gpu.cuda_index == wanted and not gpu.error), None)
