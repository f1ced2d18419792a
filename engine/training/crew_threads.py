"""Workers in this process: none at all, or threads (decoding and resizing release the interpreter's lock)."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import torch

from gputrain.engine.training import crew
from gputrain.engine.training.accounting import Meter
from gputrain.engine.training.crew import Filled, Work
from gputrain.engine.training.order import Batches
from gputrain.engine.training.samples import SampleMaker, Slot


class InlineCrew:
    """No workers: a batch is made when it is asked for."""

    kind = "inline"
    workers = 1

    def __init__(self, maker: SampleMaker, slots: list[Slot]) -> None:
        self._maker = maker
        self._slots = slots

    def run(self, epoch: int, batches: Batches, start: int) -> Iterator[Filled]:
        """See `Crew`."""
        meter = Meter()
        try:
            for number in range(start, len(batches)):
                work = Work(epoch, number, 0, batches.indices(number))
                with crew.single_threaded():
                    filled = crew.fill(self._maker, self._slots[0], work, meter, lambda: False)
                yield filled
        finally:
            meter.close()

    def slot(self, number: int) -> Slot:
        """See `Crew`."""
        return self._slots[number]

    def queue(self) -> tuple[int, int]:
        """Nothing is made ahead."""
        return 0, 0

    def close(self) -> None:
        """There is nothing to end."""


class ThreadCrew:
    """Threads that fill the slots of one ring. They live as long as an epoch: a thread starts in 50 µs."""

    kind = "threads"

    def __init__(self, maker: SampleMaker, slots: list[Slot], workers: int) -> None:
        self.workers = workers
        self._maker = maker
        self._slots = slots
        self._board: _Board | None = None

    def run(self, epoch: int, batches: Batches, start: int) -> Iterator[Filled]:
        """See `Crew`."""
        board = self._board = _Board(range(start, len(batches)), len(self._slots))
        threads = [
            threading.Thread(target=self._work, args=(board, epoch, batches), name=f"loader-{n}", daemon=True)
            for n in range(self.workers)
        ]
        own = torch.get_num_threads()
        try:
            for thread in threads:
                thread.start()
            board.wait_for_crew(self.workers)
            # The workers' limit is their own in OpenMP, but MKL has one for all threads.
            torch.set_num_threads(own)
            for number in range(start, len(batches)):
                filled = board.wait_for(number)
                yield filled
                board.release(filled.slot)
        finally:
            self._board = None
            board.cancel()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()

    def slot(self, number: int) -> Slot:
        """See `Crew`."""
        return self._slots[number]

    def queue(self) -> tuple[int, int]:
        """See `Crew`. One slot is the loop's."""
        board = self._board
        return (board.waiting() if board else 0), len(self._slots) - 1

    def close(self) -> None:
        """See `Crew`. The threads ended with their epoch."""

    def _work(self, board: _Board, epoch: int, batches: Batches) -> None:
        # Otherwise each resize wakes a helper thread that spins: a third slower, at the cost of half a core a worker.
        # Asking first, since torch gives a thread the common number when it is first used there.
        torch.get_num_threads()
        torch.set_num_threads(1)
        board.arrive()
        meter = Meter()
        try:
            while (work := board.next()) is not None:
                number, at = work
                task = Work(epoch, number, at, batches.indices(number))
                board.finish(crew.fill(self._maker, self._slots[at], task, meter, board.is_cancelled))
        finally:
            meter.close()


class _Board:
    """Who does what in one epoch: free slots, the next batch to begin, and those that are done."""

    def __init__(self, numbers: range, slots: int) -> None:
        self._arrived = 0
        self._changed = threading.Condition()
        self._numbers = iter(numbers)
        self._free = list(range(slots))
        self._done: dict[int, Filled] = {}
        self._cancelled = False

    def arrive(self) -> None:
        """A worker has begun."""
        with self._changed:
            self._arrived += 1
            self._changed.notify_all()

    def wait_for_crew(self, workers: int) -> None:
        """Wait until all `workers` have begun."""
        with self._changed:
            self._changed.wait_for(lambda: self._arrived == workers)

    def next(self) -> tuple[int, int] | None:
        """The next batch and a free slot, waiting for one; None at the end.

        A worker gets the slot first and the number then, so that the lowest unfinished batch always has a slot.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._cancelled)
            if self._cancelled or (number := next(self._numbers, None)) is None:
                return None
            return number, self._free.pop()

    def finish(self, filled: Filled) -> None:
        with self._changed:
            self._done[filled.number] = filled
            self._changed.notify_all()

    def wait_for(self, number: int) -> Filled:
        with self._changed:
            self._changed.wait_for(lambda: number in self._done)
            return self._done.pop(number)

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
