"""Process group of a run: all-reduce, gather and broadcast between the ranks, on the host and on the devices.

All ranks make the same calls in the same order; a missing call leaves the other ranks waiting. In a run of one process
the calls do nothing.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from gputrain.engine.processes.rank_board import EXCHANGE, RankBoard
from gputrain.engine.processes.rank_environment import MeetingPoint
from gputrain.engine.training.distributed import flight_recorder

T = TypeVar("T")

_TIMEOUT = dt.timedelta(days=7)
"""A run may be paused for days while the other ranks wait. The watchdog handles hangs."""


class RankLostError(RuntimeError):
    """Another rank ended or can't be reached; the reason is in its own record."""


class PendingSum:
    """An asynchronous all-reduce (sum)."""

    def __init__(self, work: dist.Work | None = None) -> None:
        self._work = work

    def wait(self) -> None:
        """Return when the sum can be used; on a GPU, by work queued from now on. Raises RankLostError."""
        if self._work is not None:
            with _exchanging():
                self._work.wait()


@contextlib.contextmanager
def collective_errors() -> Iterator[None]:
    """RankLostError for the errors of a collective inside; errors of other code pass as they are."""
    try:
        yield
    except RuntimeError as error:
        # gloo's errors have no class of their own; they name the file of its transport.
        if isinstance(error, dist.DistError) or "gloo/" in str(error):
            raise RankLostError(str(error).partition("\n")[0]) from error
        raise


@contextlib.contextmanager
def _exchanging() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RankLostError(str(error).partition("\n")[0]) from error


class SingleProcess:
    """This process, number `rank` of `count`; rank 0 is the main process."""

    rank = 0
    count = 1
    local_rank = 0
    """Number of this rank on its machine: it uses the GPU of that number."""
    local_count = 1
    """Ranks that this machine has at least."""
    launched = False
    """A launcher started the ranks, perhaps on several nodes."""
    board: RankBoard | None = None
    """Where this rank shows what it does."""

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes checkpoints and reports."""
        return self.rank == 0

    def use(self, device: torch.device) -> None:
        """Use `device` for all_reduce_sum from now on."""

    def all_reduce_max(self, values: Sequence[int]) -> list[int]:
        """Maximum of each value over all ranks. Waits for the ranks, not for a device."""
        return list(values)

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, by rank: plain values and host tensors."""
        return [value]

    def broadcast_object(self, value: T) -> T:
        """Rank 0's value."""
        return value

    def all_reduce_sum(self, tensor: torch.Tensor) -> PendingSum:
        """Start to replace `tensor` by its sum over all ranks, on the device of `use` or on the host."""
        return PendingSum()

    def average_buffers(self, networks: Iterable[nn.Module]) -> None:
        """Replace floating-point buffers (BatchNorm's running mean and variance) by their means over all ranks."""

    def leave(self) -> None:
        """Leave the process group."""


def open_store(
    meeting: MeetingPoint, rank: int, count: int, *, client: bool = False, patience: dt.timedelta = _TIMEOUT
) -> Store:
    """The store at a meeting point; rank 0 serves it unless it is a `client` or the launcher serves it.

    Raises RankLostError if it can't be reached for `patience`.
    """
    serves = rank == 0 and not client and not meeting.served
    with _exchanging():
        store = TCPStore(
            meeting.host,
            meeting.port,
            count,
            is_master=serves,
            timeout=patience,
            wait_for_workers=False,
            master_listen_fd=meeting.listener if serves else None,
        )
        store.set_timeout(_TIMEOUT)
    return PrefixStore(meeting.prefix, store) if meeting.prefix else store


class ProcessGroup(SingleProcess):
    """One of several ranks."""

    def __init__(
        self,
        meeting: MeetingPoint,
        rank: int,
        count: int,
        *,
        store: Store | None = None,
        local: tuple[int, int] | None = None,
    ) -> None:
        """Meet the other ranks at a store that no group has used before. Waits for all ranks. Raises RankLostError.

        `store`: that of `meeting`, if it is open already. `local`: number of this rank on its machine, and how many
        ranks that has; None: all are on this one.
        """
        self.rank, self.count = rank, count
        self.local_rank, self.local_count = local or (rank, count)
        self.launched = local is not None
        if meeting.is_local:
            # The name of this machine may not resolve.
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        flight_recorder.turn_on()
        store = store or open_store(meeting, rank, count)
        with _exchanging():
            dist.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=_TIMEOUT)
        self.devices: Any = None
        """The group for device tensors; None: the default group (gloo, host)."""

    @contextlib.contextmanager
    def _shown(self) -> Iterator[None]:
        if self.board is not None:
            self.board.enter(EXCHANGE)
        yield
        if self.board is not None:
            self.board.enter("other work")

    def use(self, device: torch.device) -> None:
        """See `SingleProcess`."""
        if device.type == "cuda":
            self.devices = dist.new_group(backend="nccl", timeout=_TIMEOUT, device_id=device)

    def all_reduce_max(self, values: Sequence[int]) -> list[int]:
        """See `SingleProcess`."""
        largest = torch.tensor(list(values), dtype=torch.int64)
        with _exchanging(), self._shown():
            dist.all_reduce(largest, dist.ReduceOp.MAX)
        found: list[int] = largest.tolist()
        return found

    def gather(self, value: T) -> list[T]:
        """See `SingleProcess`."""
        found: list[Any] = [None] * self.count
        with _exchanging(), self._shown():
            dist.all_gather_object(found, value)
        return found

    def broadcast_object(self, value: T) -> T:
        """See `SingleProcess`."""
        held: list[Any] = [value]
        with _exchanging(), self._shown():
            dist.broadcast_object_list(held, src=0)
        first: T = held[0]
        return first

    def all_reduce_sum(self, tensor: torch.Tensor) -> PendingSum:
        """See `SingleProcess`."""
        with _exchanging():
            return PendingSum(dist.all_reduce(tensor, group=self.devices, async_op=True))

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
