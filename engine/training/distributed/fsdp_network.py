"""Sharded weights: torch's ``fully_shard`` (FSDP2) divides weights, gradients and optimizer state among the ranks.

Each repeated block of a network is gathered before it computes, and released after. All ranks therefore make the same
number of passes: a rank without a batch makes one whose gradients are zeros. A rank that runs out of memory can't be
made up for, as `ddp_network` does.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn.modules.batchnorm import _BatchNorm

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.training.distributed.ddp_network import Compression
from gputrain.engine.training.distributed.divided_tensor import whole
from gputrain.engine.training.distributed.process_group import ProcessGroup, collective_errors

Forward = Callable[[torch.Tensor], torch.Tensor]
Blocks = Callable[[nn.Module], list[nn.Module]]


class ShardedNetwork:
    """A network whose weights are divided among the ranks; its gradients become means over the ranks."""

    def __init__(self, network: nn.Module, ranks: ProcessGroup, compression: Compression = "none") -> None:
        """Copies rank 0's weights and buffers to all ranks. Call `divide` before the first pass.

        `compression`: of the gradients on their way.
        """
        self._network, self._ranks, self._compression = network, ranks, compression
        self._shape: torch.Size | None = None
        """Of the newest images."""
        self._forward: Forward = network
        group: Any = ranks.devices if ranks.devices is not None else dist.group.WORLD
        with collective_errors(), torch.no_grad():
            for tensor in (*network.parameters(), *network.buffers()):
                dist.broadcast(tensor.detach(), src=0, group=group)
        device = next(network.parameters()).device
        self._mesh = DeviceMesh.from_group(group, device.type)
        # An unsharded copy for validations, without memory for its weights until then.
        self._unsharded = copy.deepcopy(network).eval().requires_grad_(False)
        self._release()

    def divide(self, others: list[nn.Module], blocks_of: Blocks, dtype: torch.dtype | None) -> None:
        """Divide the network, and `others` of the same architecture. `dtype`: of autocast, None: none.

        Raises BadInput for a network that can't be divided.
        """
        # BatchNorm's statistics are float32, and torch has no kernel for half-precision weights beside them.
        narrow = dtype is torch.bfloat16 and not any(isinstance(m, _BatchNorm) for m in self._network.modules())
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if narrow else None,
            reduce_dtype=torch.bfloat16 if self._compression == "bf16" else torch.float32,
        )
        for network in (self._network, *others):
            try:
                for block in _separate(network, blocks_of(network)):
                    fully_shard(block, mesh=self._mesh, mp_policy=policy)
                fully_shard(network, mesh=self._mesh, mp_policy=policy)
            except (ValueError, NotImplementedError) as error:
                why = plain(str(error).partition("\n")[0], 300)
                raise BadInput(f"sharding: full can't divide this model: {why}; use sharding=zero1") from error

    def use(self, forward: Forward) -> None:
        """Call `forward` for the network's forward pass, compiled or not."""
        self._forward = forward

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The network's outputs; call it within `accumulating` or `last_pass`."""
        return self._forward(images)

    @contextlib.contextmanager
    def accumulating(self) -> Iterator[None]:
        """A forward and a backward pass inside only add to this rank's gradients. Raises RankLostError."""
        self._set_sync(False)
        with collective_errors():
            yield

    @contextlib.contextmanager
    def last_pass(self) -> Iterator[None]:
        """The last forward and backward pass of the update, after which gradients are means. Raises RankLostError."""
        self._set_sync(True)
        with collective_errors():
            yield

    def _set_sync(self, wanted: bool) -> None:
        assert isinstance(self._network, FSDPModule)
        self._network.set_requires_gradient_sync(wanted)

    def agree_on_shape(self, shape: torch.Size | None) -> torch.Size:
        """Remember the shape of this rank's images before a pass; returns it, or rank 0's if there were none yet.

        All ranks call it before their first pass, in which rank 0 has a batch. Raises RankLostError.
        """
        if self._shape is None:
            self._shape = torch.Size(self._ranks.broadcast_object(tuple(shape or ())))
        self._shape = shape or self._shape
        return self._shape

    def pass_without_batch(self, part_size: Callable[[int], int]) -> None:
        """Take part in the last step of an update without a batch, in as many passes as others with `part_size`.

        Adds nothing to the gradients; the random numbers and buffers stay.
        """
        shape = self.agree_on_shape(None)
        parts = -(-shape[0] // part_size(shape[0]))
        device = next(self._network.parameters()).device
        # Images like others: some networks divide by what is 0 in an empty image.
        images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
        kept = [buffer.clone() for buffer in self._network.buffers()]
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            for number in range(parts):
                with self.last_pass() if number == parts - 1 else self.accumulating():
                    (self.forward(images).float().sum() * 0).backward()
        with torch.no_grad():
            for buffer, before in zip(self._network.buffers(), kept, strict=True):
                buffer.copy_(before)

    def finish(self) -> None:
        """Nothing: the last backward pass has waited for all ranks."""

    @contextlib.contextmanager
    def gathered(self, network: nn.Module) -> Iterator[nn.Module]:
        """An ordinary network with all weights of `network`, in memory until the end. Raises RankLostError.

        All ranks have to enter together; inside they need not do the same.
        """
        with torch.no_grad():
            for parameter, divided in zip(self._unsharded.parameters(), network.parameters(), strict=True):
                parameter.data = whole(divided.detach())
            for buffer, other in zip(self._unsharded.buffers(), network.buffers(), strict=True):
                buffer.copy_(other)
        try:
            yield self._unsharded
        finally:
            self._release()

    def _release(self) -> None:
        for parameter in self._unsharded.parameters():
            parameter.data = parameter.data.new_empty(0)


def _separate(network: nn.Module, blocks: list[nn.Module]) -> list[nn.Module]:
    """`blocks` with weights of their own; empty if weights are shared between them or with the rest."""
    inside = [{id(p) for p in block.parameters()} for block in blocks]
    rest = {id(p) for module in _outside(network, set(blocks)) for p in module.parameters(recurse=False)}
    if sum(map(len, inside)) > len(set().union(*inside)) or rest & set().union(*inside):
        return []
    return [block for block, parameters in zip(blocks, inside, strict=True) if parameters]


def _outside(module: nn.Module, blocks: set[nn.Module]) -> Iterator[nn.Module]:
    if module in blocks:
        return
    yield module
    for child in module.children():
        yield from _outside(child, blocks)
