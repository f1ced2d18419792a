"""Worker pools: the common interface. Workers take batches in order, fill them in any order, and deliver in order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch

from gputrain.engine.dataloading.batch_sampler import Indices
from gputrain.engine.dataloading.worker_accounting import BatchAccounting, WorkerTally
from gputrain.engine.training.workers.fill_batch import BatchFiller, BatchSlot, TooManyBadImages

IndexStream = Iterator[tuple[int, Indices]]
"""The batches for the workers, of one epoch or several: (epoch, image indices) each."""


@dataclass(frozen=True, slots=True)
class FilledBatch:
    """A batch that a worker has finished."""

    number: int
    """Its position in the index stream, from 0."""
    slot: int
    count: int
    tally: WorkerTally
    bad: tuple[tuple[int, str], ...] = ()
    """Bad images: index and reason."""
    overrun: bool = False
    """Whether the batch was abandoned because of too many bad images."""
    error: Exception | None = None
    """The exception that ended the batch."""


class WorkerPool(Protocol):
    """The workers of a loader, of any kind."""

    kind: str
    workers: int

    def run(self, stream: IndexStream) -> Iterator[FilledBatch]:
        """The filled batches in the order of `stream`; each batch's slot is free again when the next one is requested.

        Workers prefetch as far as there are free slots. Closing the iterator cancels their present batches and waits
        until all workers are idle.
        """
        ...

    def slot(self, number: int) -> BatchSlot:
        """A slot by its number."""
        ...

    def queue(self) -> tuple[int, int]:
        """Filled batches in the queue now, and the queue's capacity."""
        ...

    def close(self) -> None:
        """Stop the workers; idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """A batch to fill, and its slot."""

    epoch: int
    number: int
    """Its position in the index stream."""
    slot: int
    indices: Indices


@contextlib.contextmanager
def single_threaded() -> Iterator[None]:
    """Torch uses one thread per operation inside; threads that start meanwhile keep this for good.

    Operations on one image are too small to be split: waiting for a helper thread costs more than it saves, and twenty
    times as much on a busy machine.
    """
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)


def fill(
    filler: BatchFiller, slot: BatchSlot, work: Work, meter: BatchAccounting, cancelled: Callable[[], bool]
) -> FilledBatch:
    """Fill a batch. Exceptions are returned in the result."""
    meter.begin()
    count = len(work.indices)
    try:
        bad = filler.fill(slot, work.epoch, work.indices, meter, cancelled)
        return FilledBatch(work.number, work.slot, count, meter.end(count), tuple(bad))
    except TooManyBadImages as error:
        return FilledBatch(work.number, work.slot, 0, meter.end(0), tuple(error.bad), overrun=True)
    except Exception as error:  # noqa: BLE001 - the loop's thread raises it again
        return FilledBatch(work.number, work.slot, 0, meter.end(0), error=error)


class WorkerError(RuntimeError):
    """A worker process died, or raised an exception that cannot be pickled."""
