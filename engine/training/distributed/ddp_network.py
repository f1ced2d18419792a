"""Data-parallel gradients: torch's DistributedDataParallel around a network.

DistributedDataParallel expects that each rank computes all its gradients in each update. A rank that can't (it ran out
of memory, or the epoch has no batch left for it) would leave the others waiting for ever. Here that rank runs a second
backward pass over the parameters that are still missing, whose gradients are zeros; all ranks then finish the same
all-reduces, and the vote after them says whether the sums count. A parameter that the loss does not depend on gets its
zeros the same way.

``static_graph`` stays off: it postpones the first all-reduce to the end of the first backward pass, also under
``no_sync``, and a rank that fails in that pass could not be made up for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from gputrain.engine.training.distributed.process_group import ProcessGroup, SingleProcess, collective_errors

Forward = Callable[[torch.Tensor], torch.Tensor]
Compression = Literal["none", "bf16"]
_DEFAULT_BUCKET_MIB = 25
"""torch's own."""


class _Entry(nn.Module):
    """What DistributedDataParallel calls: the network, or zeros that depend on every parameter."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.forward_of: list[Forward] = [network]
        """The network's forward pass, compiled or not; in a list, so that it is no second submodule."""

    def forward(self, images: torch.Tensor | None) -> torch.Tensor:
        if images is None:
            return _zeros_of(p for p in self.network.parameters() if p.requires_grad)
        return self.forward_of[0](images)


def _zeros_of(parameters: Iterator[nn.Parameter]) -> torch.Tensor:
    """A zero whose gradient with respect to each of `parameters` is zero."""
    zeros = [parameter.sum() * 0 for parameter in parameters]
    return torch.stack([zero.float() for zero in zeros]).sum()


def synchronised_batchnorm(network: nn.Module, ranks: SingleProcess) -> nn.Module:
    """`network` with SyncBatchNorm for BatchNorm; on GPUs only, torch refuses it elsewhere."""
    group = ranks.devices if isinstance(ranks, ProcessGroup) else None
    changed: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network, group)
    return changed


class DataParallel:
    """A network whose gradients become their means over the ranks in the last backward pass of an update."""

    def __init__(
        self,
        network: nn.Module,
        ranks: ProcessGroup,
        on_computed: Callable[[], None],
        compression: Compression = "none",
        bucket_mib: int = _DEFAULT_BUCKET_MIB,
    ) -> None:
        """Copies rank 0's parameters and buffers to all ranks.

        `on_computed` is called in the last backward pass of each update when this rank's gradients are complete: the
        rest of that pass waits for the other ranks. `compression`: of the gradients on their way.
        `bucket_mib`: MiB of gradients in one all-reduce.
        """
        self._entry = _Entry(network)
        self._on_computed = on_computed
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        with collective_errors():
            self._ddp = DistributedDataParallel(
                self._entry,
                process_group=ranks.devices,
                # Only without a size the first bucket is a small one, which is sent early.
                bucket_cap_mb=None if bucket_mib == _DEFAULT_BUCKET_MIB else bucket_mib,
                gradient_as_bucket_view=True,
            )
        # The loop averages BatchNorm's buffers where they are read: at validations and checkpoints. Set here, because
        # as an argument it would also leave out the first copy of the buffers.
        self._ddp.broadcast_buffers = False
        if compression == "bf16":
            self._ddp.register_comm_hook(ranks.devices, bf16_compress_hook)
        self._begun = False
        """The synchronised forward pass of this update is done."""
        self._missing: set[torch.Tensor] = set()
        """Parameters whose gradients the all-reduces of this update still need."""
        for parameter in self._parameters:
            parameter.register_post_accumulate_grad_hook(self._computed)

    def use(self, forward: Forward) -> None:
        """Call `forward` for the network's forward pass."""
        self._entry.forward_of[0] = forward

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The network's outputs; call it within `accumulating` or `last_pass`."""
        outputs: torch.Tensor = self._ddp(images)
        if self._ddp.require_backward_grad_sync:
            self._begun = True
            self._missing = set(self._parameters)
        return outputs

    @contextlib.contextmanager
    def accumulating(self) -> Iterator[None]:
        """A forward and a backward pass inside only add to this rank's gradients."""
        with self._ddp.no_sync():
            yield

    @contextlib.contextmanager
    def last_pass(self) -> Iterator[None]:
        """The last forward and backward pass of the update. Raises RankLostError."""
        with collective_errors():
            yield

    def _computed(self, parameter: torch.Tensor) -> None:
        """The gradient of `parameter` is ready, and DistributedDataParallel gets it next."""
        if self._missing:
            self._missing.discard(parameter)
            if not self._missing:
                self._on_computed()

    def finish(self) -> None:
        """Finish the update's all-reduces, with zeros where this rank has no gradient. Raises RankLostError."""
        begun, missing = self._begun, self._missing
        self._begun, self._missing = False, set()
        with collective_errors():
            if not begun:
                self._ddp(None).backward()
            elif missing:
                _zeros_of(p for p in self._parameters if p in missing).backward()
