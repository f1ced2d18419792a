"""The most memory that a piece of work needed: the GPU's, or on the CPU that of this process."""

from __future__ import annotations

import torch

from gputrain.engine import hostpeak
from gputrain.engine.training.device import Compute
from gputrain.engine.vrambudget import CUDA_CONTEXT_BYTES


def reset_peak(compute: Compute) -> None:
    """The next `peak` counts from now on."""
    if compute.is_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(compute.device)
        return
    hostpeak.reset()


def peak(compute: Compute) -> int | None:
    """Bytes since `reset_peak`: what torch had reserved and an allowance for the context, or the resident memory."""
    if compute.is_gpu:
        return torch.cuda.max_memory_reserved(compute.device) + CUDA_CONTEXT_BYTES
    return hostpeak.peak()
