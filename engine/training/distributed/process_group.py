"""The processes that train one model together: what they tell each other, on the host and on their devices.

Every call here is made by all ranks in the same order; one that is missing leaves the others waiting. A run of one
process has the same calls, which then do nothing.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

T = TypeVar("T")

_TIMEOUT = dt.timedelta(days=7)
"""A run may be paused for days, in which the other ranks wait. Hangs are the watchdog's."""


class RankLostError(RuntimeError):
    """Another rank is gone, or can't be reached; its own end says why."""


class PendingSum:
    """A sum over all ranks that is under way."""

    def __init__(self, work: dist.Work | None = None) -> None:
        self._work = work

    def wait(self) -> None:
        """Return when it may be used: on a GPU by what is queued from now on. Raises RankLost."""
        if self._work is not None:
            with _exchanging():
                self._work.wait()


@contextlib.contextmanager
def _exchanging() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RankLostError(str(error).partition("\n")[0]) from error


class SingleProcess:
    """This process among `count`; `rank` 0 is the one that speaks for all."""

    rank = 0
    count = 1

    @property
    def is_main_process(self) -> bool:
        """This one writes checkpoints and reports."""
        return self.rank == 0

    def use(self, device: torch.device) -> None:
        """Exchange tensors of this device from now on."""

    def all_reduce_max(self, values: Sequence[int]) -> list[int]:
        """The largest of each value over all ranks. Waits for all of them, but for no device."""
        return list(values)

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, by rank; plain values and tensors on the host."""
        return [value]

    def broadcast_object(self, value: T) -> T:
        """Rank 0's value."""
        return value

    def all_reduce_sum(self, tensor: torch.Tensor) -> PendingSum:
        """Begin to replace `tensor` by its sum over all ranks, on the device of `use` or on the host."""
        return PendingSum()

    def broadcast_parameters(self, network: nn.Module) -> None:
        """Give all ranks the parameters and buffers of rank 0."""

    def average_buffers(self, networks: Iterable[nn.Module]) -> None:
        """Replace what layers count on the way (running mean and variance) by its mean over all ranks."""

    def leave(self) -> None:
        """Be one of them no longer."""


class ProcessGroup(SingleProcess):
    """One of several processes on this machine."""

    def __init__(self, rendezvous: Path, rank: int, count: int) -> None:
        """`rendezvous`: a file that is not there yet, in a folder that all of them can write. Waits for all of them."""
        self.rank, self.count = rank, count
        # They are on one machine, whose name need not lead to an address of its own.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        store = dist.FileStore(str(rendezvous), count)  # type: ignore[attr-defined]
        dist.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=_TIMEOUT)
        self.devices: Any = None
        """The group for tensors; None: the default one, the host's."""

    def use(self, device: torch.device) -> None:
        """See `SingleProcess`."""
        if device.type == "cuda":
            self.devices = dist.new_group(backend="nccl", timeout=_TIMEOUT, device_id=device)

    def all_reduce_max(self, values: Sequence[int]) -> list[int]:
        """See `SingleProcess`."""
        largest = torch.tensor(list(values), dtype=torch.int64)
        with _exchanging():
            dist.all_reduce(largest, dist.ReduceOp.MAX)
        found: list[int] = largest.tolist()
        return found

    def gather(self, value: T) -> list[T]:
        """See `SingleProcess`."""
        found: list[Any] = [None] * self.count
        with _exchanging():
            dist.all_gather_object(found, value)
        return found

    def broadcast_object(self, value: T) -> T:
        """See `SingleProcess`."""
        held: list[Any] = [value]
        with _exchanging():
            dist.broadcast_object_list(held, src=0)
        first: T = held[0]
        return first

    def all_reduce_sum(self, tensor: torch.Tensor) -> PendingSum:
        """See `SingleProcess`."""
        with _exchanging():
            return PendingSum(dist.all_reduce(tensor, group=self.devices, async_op=True))

    def broadcast_parameters(self, network: nn.Module) -> None:
        """See `SingleProcess`."""
        with torch.no_grad():
            for tensor in (*network.parameters(), *network.buffers()):
                dense = tensor.detach().contiguous()
                with _exchanging():
                    dist.broadcast(dense, src=0, group=self.devices)
                tensor.copy_(dense)

    def average_buffers(self, networks: Iterable[nn.Module]) -> None:
        """See `SingleProcess`."""
        buffers = [b for network in networks for b in network.buffers() if b.is_floating_point() and b.numel()]
        if not buffers:
            return
        flat = torch.cat([buffer.detach().float().reshape(-1) for buffer in buffers])
        self.all_reduce_sum(flat).wait()
        flat /= self.count
        with torch.no_grad():
            for buffer, mean in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
                buffer.copy_(mean.view_as(buffer))

    def leave(self) -> None:
        """See `SingleProcess`."""
        dist.destroy_process_group()
