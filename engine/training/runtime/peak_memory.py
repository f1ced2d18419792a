"""Peak memory of a piece of work: of the GPU, or on the CPU of this process."""

from __future__ import annotations

import torch

from gputrain.engine.common import peak_rss
from gputrain.engine.estimates.gpu_memory import CUDA_CONTEXT_BYTES
from gputrain.engine.training.runtime.device import Compute


def reset_peak(compute: Compute) -> None:
    """Start a new measurement; `peak` returns the maximum from here on."""
    if compute.is_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(compute.device)
        return
    peak_rss.reset()


def peak(compute: Compute) -> int | None:
    """Peak bytes since `reset_peak`: torch's reserved memory plus the CUDA context, or the process's peak RSS."""
    if compute.is_gpu:
        return torch.cuda.max_memory_reserved(compute.device) + CUDA_CONTEXT_BYTES
    return peak_rss.peak()
