"""Workers in this process: none at all, or threads (decoding and resizing release the interpreter's lock)."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import torch

from gputrain.engine.dataloading.worker_accounting import BatchAccounting
from gputrain.engine.training.workers import worker_pool
from gputrain.engine.training.workers.fill_batch import BatchFiller, BatchSlot
from gputrain.engine.training.workers.worker_pool import FilledBatch, IndexStream, Work


class InlineWorker:
    """No workers: a batch is made when it is asked for."""

    kind = "inline"
    workers = 1

    def __init__(self, filler: BatchFiller, slots: list[BatchSlot]) -> None:
        self._filler = filler
        self._slots = slots

    def run(self, stream: IndexStream) -> Iterator[FilledBatch]:
        """See `WorkerPool`."""
        meter = BatchAccounting()
        try:
            for number, (epoch, indices) in enumerate(stream):
                work = Work(epoch, number, 0, indices)
                with worker_pool.single_threaded():
                    filled = worker_pool.fill(self._filler, self._slots[0], work, meter, lambda: False)
                yield filled
        finally:
            meter.close()

    def slot(self, number: int) -> BatchSlot:
        """See `WorkerPool`."""
        return self._slots[number]

    def queue(self) -> tuple[int, int]:
        """Nothing is made ahead."""
        return 0, 0

    def close(self) -> None:
        """There is nothing to end."""


class ThreadWorkerPool:
    """Threads that fill the slots of one ring. They live as long as a course: a thread starts in 50 µs."""

    kind = "threads"

    def __init__(self, filler: BatchFiller, slots: list[BatchSlot], workers: int) -> None:
        self.workers = workers
        self._filler = filler
        self._slots = slots
        self._board: _BatchBoard | None = None

    def run(self, stream: IndexStream) -> Iterator[FilledBatch]:
        """See `WorkerPool`."""
        board = self._board = _BatchBoard(stream, len(self._slots))
        threads = [
            threading.Thread(target=self._work, args=(board,), name=f"loader-{n}", daemon=True)
            for n in range(self.workers)
        ]
        main_threads = torch.get_num_threads()
        try:
            for thread in threads:
                thread.start()
            board.wait_until_started(self.workers)
            # The workers' limit is their own in OpenMP, but MKL has one for all threads.
            torch.set_num_threads(main_threads)
            for number in itertools.count():
                if (filled := board.wait_for(number)) is None:
                    return
                yield filled
                board.release(filled.slot)
        finally:
            self._board = None
            board.cancel()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()

    def slot(self, number: int) -> BatchSlot:
        """See `WorkerPool`."""
        return self._slots[number]

    def queue(self) -> tuple[int, int]:
        """See `WorkerPool`. One slot is the loop's."""
        board = self._board
        return (board.waiting() if board else 0), len(self._slots) - 1

    def close(self) -> None:
        """See `WorkerPool`. The threads ended with their course."""

    def _work(self, board: _BatchBoard) -> None:
        # Otherwise each resize wakes a helper thread that spins: a third slower, at the cost of half a core a worker.
        # Asking first, since torch gives a thread the common number when it is first used there.
        torch.get_num_threads()
        torch.set_num_threads(1)
        board.worker_started()
        meter = BatchAccounting()
        try:
            while (work := board.next()) is not None:
                board.finish(worker_pool.fill(self._filler, self._slots[work.slot], work, meter, board.is_cancelled))
        finally:
            meter.close()


class _BatchBoard:
    """Who does what in one course: free slots, the next batch to begin, and those that are done."""

    def __init__(self, stream: IndexStream, slots: int) -> None:
        self._started = 0
        self._changed = threading.Condition()
        self._stream = stream
        self._begun = 0
        self._exhausted = False
        """Whether all batches of the course have begun."""
        self._free = list(range(slots))
        self._done: dict[int, FilledBatch] = {}
        self._cancelled = False

    def worker_started(self) -> None:
        """A worker has begun."""
        with self._changed:
            self._started += 1
            self._changed.notify_all()

    def wait_until_started(self, workers: int) -> None:
        """Wait until all `workers` have begun."""
        with self._changed:
            self._changed.wait_for(lambda: self._started == workers)

    def next(self) -> Work | None:
        """The next batch, for a free slot, waiting for one; None at the end.

        A worker gets the slot first and the batch then, so that the lowest unfinished batch always has a slot.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._cancelled or self._exhausted)
            if self._cancelled or self._exhausted:
                return None
            if (planned := next(self._stream, None)) is None:
                self._exhausted = True
                self._changed.notify_all()
                return None
            epoch, indices = planned
            self._begun += 1
            return Work(epoch, self._begun - 1, self._free.pop(), indices)

    def finish(self, filled: FilledBatch) -> None:
        with self._changed:
            self._done[filled.number] = filled
            self._changed.notify_all()

    def wait_for(self, number: int) -> FilledBatch | None:
        """The batch at that place of the course; None after its last."""
        with self._changed:
            self._changed.wait_for(lambda: number in self._done or (self._exhausted and number >= self._begun))
            return self._done.pop(number, None)

    def release(self, slot: int) -> None:
        with self._changed:
            self._free.append(slot)
            self._changed.notify_all()

    def cancel(self) -> None:
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()

    def is_cancelled(self) -> bool:
        # Read without the lock, between any two samples: a plain attribute is never torn.
        return self._cancelled

    def waiting(self) -> int:
        with self._changed:
            return len(self._done)
