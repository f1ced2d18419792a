"""Workers in general: a crew takes batches in order, fills them in any order, and hands them over in order."""

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
"""The batches of a run of the workers, of one epoch or of several: of each its epoch and its images' indices."""


@dataclass(frozen=True, slots=True)
class FilledBatch:
    """A batch that a worker is done with."""

    number: int
    """Its place in the course, from 0."""
    slot: int
    count: int
    tally: WorkerTally
    bad: tuple[tuple[int, str], ...] = ()
    """Bad images that were met: index and reason."""
    overrun: bool = False
    """Whether so many were bad that the batch was given up."""
    error: Exception | None = None
    """What ended the batch otherwise."""


class WorkerPool(Protocol):
    """The workers of a loader, of whatever kind."""

    kind: str
    workers: int

    def run(self, stream: IndexStream) -> Iterator[FilledBatch]:
        """The filled batches in the order of `stream`; each one's slot is free again when the next is asked for.

        Workers go ahead in the course as far as there are slots, whether one is asked for or not. Closing the iterator
        stops their present batches and waits until none works any more.
        """
        ...

    def slot(self, number: int) -> BatchSlot:
        """A slot by its number."""
        ...

    def queue(self) -> tuple[int, int]:
        """Filled batches that wait now, and how many can wait."""
        ...

    def close(self) -> None:
        """End the workers; idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """A batch to be made, and the slot for it."""

    epoch: int
    number: int
    """Its place in the course."""
    slot: int
    indices: Indices


@contextlib.contextmanager
def single_threaded() -> Iterator[None]:
    """Torch computes on this thread alone, and on each that begins meanwhile, in those for good.

    The operations on one image are too small to be shared: a helper thread that is waited for costs more than it does,
    twenty times as much where other programs want the cores.
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
    """Make a batch. What goes wrong comes back in the result."""
    meter.begin()
    count = len(work.indices)
    try:
        bad = filler.fill(slot, work.epoch, work.indices, meter, cancelled)
        return FilledBatch(work.number, work.slot, count, meter.end(count), tuple(bad))
    except TooManyBadImages as error:
        return FilledBatch(work.number, work.slot, 0, meter.end(0), tuple(error.bad), overrun=True)
    except Exception as error:  # noqa: BLE001 - it crosses to the loop's thread and is raised there
        return FilledBatch(work.number, work.slot, 0, meter.end(0), error=error)


class WorkerError(RuntimeError):
    """A worker process died, or raised what the loop can't have as an object."""
