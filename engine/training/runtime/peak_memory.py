"""The most memory that a piece of work needed: the GPU's, or on the CPU that of this process."""

from __future__ import annotations

import torch

from gputrain.engine.common import peak_rss
from gputrain.engine.estimates.gpu_memory import CUDA_CONTEXT_BYTES
from gputrain.engine.training.runtime.device import Compute


def reset_peak(compute: Compute) -> None:
    """The next `peak` counts from now on."""
    if compute.is_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(compute.device)
        return
    peak_rss.reset()


def peak(compute: Compute) -> int | None:
    """Bytes since `reset_peak`: what torch had reserved and an allowance for the context, or the resident memory."""
    if compute.is_gpu:
        return torch.cuda.max_memory_reserved(compute.device) + CUDA_CONTEXT_BYTES
    return peak_rss.peak()
