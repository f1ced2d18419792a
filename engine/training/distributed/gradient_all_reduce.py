"""Gradient all-reduce over the ranks, overlapped with the backward pass.

Works as torch's DistributedDataParallel does: in buckets, in the order in which gradients become ready (Li et al. 2020,
arXiv:2006.15704). DistributedDataParallel itself is not used because a rank that runs out of memory in a backward pass
would leave the other ranks waiting for ever; here that rank sends zeros for the rest, and all ranks repeat the update.
"""

from __future__ import annotations

import torch
from torch import nn

from gputrain.engine.training.distributed.process_group import PendingSum, SingleProcess

FIRST_BYTES, BUCKET_BYTES = 1 << 20, 25 << 20
"""DistributedDataParallel's bucket sizes: the first is small, to start early."""


class _Bucket:
    """Gradients that are reduced together, as views of one tensor."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        first = parameters[0]
        self.flat = torch.zeros(sum(p.numel() for p in parameters), dtype=first.dtype, device=first.device)
        parts = self.flat.split([p.numel() for p in parameters])
        # In the memory format of the weights, as the optimizer expects.
        self.views = [
            part.as_strided(p.shape, p.stride(), part.storage_offset()) if _is_dense(p) else part.view(p.shape)
            for part, p in zip(parts, parameters, strict=True)
        ]
        self.missing: set[nn.Parameter] = set(parameters)
        self.work: PendingSum | None = None

    def collect(self) -> None:
        """Copy the gradients; a parameter that the loss does not depend on has a gradient of 0."""
        with torch.no_grad():
            for parameter, view in zip(self.parameters, self.views, strict=True):
                if parameter.grad is None:
                    view.zero_()
                elif parameter.grad is not view:
                    view.copy_(parameter.grad)


def _is_dense(tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous() or (tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last))


class GradientAllReduce:
    """Sums the gradients of a network over all ranks. Each rank divides its loss by the number of ranks before."""

    def __init__(self, network: nn.Module, ranks: SingleProcess) -> None:
        self._ranks = ranks
        self._buckets = _buckets(network)
        self._of = {p: bucket for bucket in self._buckets for p in bucket.parameters}
        self._armed = False
        self._sent = 0
        for parameter in self._of:
            parameter.register_post_accumulate_grad_hook(self._ready)

    def arm(self) -> None:
        """The next backward pass is the last one of the update: reduce the buckets it completes."""
        self._armed = True

    def _ready(self, parameter: torch.Tensor) -> None:
        if not self._armed:
            return
        self._of[parameter].missing.discard(parameter)  # type: ignore[index]
        # All ranks send the buckets in the same order.
        while self._sent < len(self._buckets) and not self._buckets[self._sent].missing:
            self._send(self._buckets[self._sent])

    def _send(self, bucket: _Bucket, *, empty: bool = False) -> None:
        if not empty:
            bucket.collect()
        bucket.work = self._ranks.all_reduce_sum(bucket.flat)
        self._sent += 1

    def finish(self, *, failed: bool) -> None:
        """Send the remaining buckets, wait for the sums and make them the parameters' gradients.

        `failed`: the sums are invalid, all ranks are about to repeat the update.
        """
        for bucket in self._buckets[self._sent :]:
            self._send(bucket, empty=failed)
        for bucket in self._buckets:
            if bucket.work is not None:
                bucket.work.wait()
            bucket.work, bucket.missing = None, set(bucket.parameters)
            if not failed:
                for parameter, view in zip(bucket.parameters, bucket.views, strict=True):
                    parameter.grad = view
        self._armed, self._sent = False, 0


def _buckets(network: nn.Module) -> list[_Bucket]:
    """Buckets by dtype and device, from the last parameter to the first: roughly the order of a backward pass."""
    made: list[_Bucket] = []
    open_ones: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
    for parameter in reversed([p for p in network.parameters() if p.requires_grad]):
        held = open_ones.setdefault((parameter.dtype, parameter.device), [])
        held.append(parameter)
        if sum(p.numel() * p.element_size() for p in held) >= (BUCKET_BYTES if made else FIRST_BYTES):
            made.append(_Bucket(open_ones.pop((parameter.dtype, parameter.device))))
    made.extend(_Bucket(held) for held in open_ones.values())
    return made
