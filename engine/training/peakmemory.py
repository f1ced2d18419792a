"""The most memory that a piece of work needed: the GPU's, or on the CPU that of this process."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

from gputrain.engine.training.device import Compute
from gputrain.engine.vrambudget import CUDA_CONTEXT_BYTES

_RESET_PEAK = "5"
"""What resets ``VmHWM`` (Documentation/filesystems/proc.rst, clear_refs)."""


def reset_peak(compute: Compute) -> None:
    """The next `peak` counts from now on."""
    if compute.is_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(compute.device)
        return
    # Some containers forbid it: the peak is then that of the whole process, which is larger or the same.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK)


def peak(compute: Compute) -> int | None:
    """Bytes since `reset_peak`: what torch had reserved and an allowance for the context, or the resident memory."""
    if compute.is_gpu:
        return torch.cuda.max_memory_reserved(compute.device) + CUDA_CONTEXT_BYTES
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
