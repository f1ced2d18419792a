"""Workers in this process: the calling thread itself, or threads (decoding and resizing release the GIL)."""

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
    """No workers: a batch is filled when it is requested."""

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
        """Always (0, 0): nothing is prefetched."""
        return 0, 0

    def close(self) -> None:
        """Nothing to stop."""


class ThreadWorkerPool:
    """Threads that fill the slots of one buffer. They live as long as an index stream: a thread starts in 50 µs."""

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
            # The thread count is per thread in OpenMP, but global in MKL.
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
        """See `WorkerPool`. One slot belongs to the loop."""
        board = self._board
        return (board.waiting() if board else 0), len(self._slots) - 1

    def close(self) -> None:
        """See `WorkerPool`. The threads have ended with their index stream."""

    def _work(self, board: _BatchBoard) -> None:
        # Otherwise each resize wakes a helper thread that spins: a third slower, and half a core more per worker.
        # The get comes first: torch sets the global number when it is first used in a thread.
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
    """Shared state of the threads: free slots, the next batch to start, and finished batches."""

    def __init__(self, stream: IndexStream, slots: int) -> None:
        self._started = 0
        self._changed = threading.Condition()
        self._stream = stream
        self._begun = 0
        self._exhausted = False
        """Whether all batches of the stream have been started."""
        self._free = list(range(slots))
        self._done: dict[int, FilledBatch] = {}
        self._cancelled = False

    def worker_started(self) -> None:
        """Count a worker that has started."""
        with self._changed:
            self._started += 1
            self._changed.notify_all()

    def wait_until_started(self, workers: int) -> None:
        """Wait until all `workers` have started."""
        with self._changed:
            self._changed.wait_for(lambda: self._started == workers)

    def next(self) -> Work | None:
        """The next batch with a free slot; waits for a slot. None at the end.

        A worker gets the slot before the batch, so that the lowest unfinished batch always has a slot.
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
        """Wait for the batch at that position of the stream; None after the last."""
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
        # Read without the lock, between any two samples: reading an attribute is atomic.
        return self._cancelled

    def waiting(self) -> int:
        with self._changed:
            return len(self._done)
