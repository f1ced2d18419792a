"""Workers as processes that write into one shared ring; only numbers cross the pipes.

For data sets whose samples keep the interpreter's lock, and for more workers than one interpreter can serve.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import connection, reduction
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

from gputrain.engine import preemption
from gputrain.engine.training import ring, worker_process
from gputrain.engine.training.crew import Filled, WorkerFailed
from gputrain.engine.training.order import Batches
from gputrain.engine.training.ring import RingShape, SharedMemory
from gputrain.engine.training.samples import SampleMaker, Slot
from gputrain.engine.training.worker_process import Control, Task

_END_SECONDS = 5.0
"""What a worker that was told to end gets before it is terminated."""


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    tasks: set[int] = field(default_factory=set)
    """Batches that it was given and has not returned."""


class ProcessCrew:
    """Worker processes, started with the first epoch. `persistent`: they stay for the next one."""

    kind = "processes"

    def __init__(
        self, maker: SampleMaker, shape: RingShape, workers: int, prefetch: int, *, persistent: bool, pin: bool
    ) -> None:
        self.workers = workers
        self._maker = maker
        self._shape = shape
        self._prefetch = prefetch
        self._persistent = persistent
        self._memory = SharedMemory(shape.total_bytes + Control.BYTES)
        if pin:
            self._memory.pin()
        self._slots = ring.slots_in(self._memory.tensor, shape)
        self._control = Control(self._memory.tensor)
        self._crew: list[_Worker] = []
        self._done: dict[int, Filled] = {}

    def run(self, epoch: int, batches: Batches, start: int) -> Iterator[Filled]:
        """See `Crew`. Raises WorkerFailed when a worker process dies."""
        self._hire()
        run = self._control.begin()
        todo = iter(range(start, len(batches)))
        free = list(range(self._shape.slots))
        try:
            for number in range(start, len(batches)):
                self._hand_out(run, epoch, batches, todo, free)
                while number not in self._done:
                    self._receive(None)
                filled = self._done.pop(number)
                yield filled
                free.append(filled.slot)
        finally:
            self._settle()

    def slot(self, number: int) -> Slot:
        """See `Crew`."""
        return self._slots[number]

    def queue(self) -> tuple[int, int]:
        """See `Crew`. One slot is the loop's."""
        self._receive(0)
        return len(self._done), self._shape.slots - 1

    def close(self) -> None:
        """See `Crew`."""
        self._dismiss()
        self._slots = []
        self._memory.close()

    def _hire(self) -> None:
        if self._crew:
            return
        # A server that has imported torch once and forks from there: workers start in milliseconds, and it never
        # holds CUDA or the trainer's threads, which must not be forked.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([worker_process.__name__])
        # A batch system signals all processes of a job: the trainer decides what it means, and needs its workers.
        with preemption.held_back():
            self._start_workers(context)

    def _start_workers(self, context: ForkServerContext) -> None:
        for number in range(self.workers):
            ours, theirs = context.Pipe(duplex=True)
            process = context.Process(
                target=worker_process.serve,
                args=(theirs, self._maker, self._shape),
                name=f"loader-{number}",
                daemon=True,
            )
            process.start()
            theirs.close()
            assert process.pid is not None
            self._crew.append(_Worker(process, ours))
            try:
                reduction.send_handle(ours, self._memory.handle, process.pid)
            except OSError:
                self._raise_if_dead()
                raise

    def _hand_out(self, run: int, epoch: int, batches: Batches, todo: Iterator[int], free: list[int]) -> None:
        """Give batches to the workers with the fewest, as long as there are slots."""
        while free:
            worker = min(self._crew, key=lambda w: len(w.tasks))
            if len(worker.tasks) >= self._prefetch or (number := next(todo, None)) is None:
                return
            slot = free.pop()
            indices = batches.indices(number)
            self._slots[slot].indices.numpy()[: len(indices)] = indices
            try:
                worker.pipe.send(Task(run, epoch, number, slot, len(indices)))
            except OSError:
                self._raise_if_dead()
                raise
            worker.tasks.add(number)

    def _receive(self, timeout: float | None) -> None:
        """Take what the workers have sent, waiting for `timeout` seconds (None: until something comes)."""
        by_pipe = {worker.pipe: worker for worker in self._crew}
        sentinels = [worker.process.sentinel for worker in self._crew]
        ready = connection.wait([*by_pipe, *sentinels], timeout)
        for one in ready:
            worker = by_pipe.get(one) if isinstance(one, Connection) else None
            if worker is None:
                continue
            try:
                filled: Filled = worker.pipe.recv()
            except (EOFError, OSError):
                self._raise_if_dead(worker)
                raise
            worker.tasks.discard(filled.number)
            self._done[filled.number] = filled
        if any(one in sentinels for one in ready):
            self._raise_if_dead()

    def _raise_if_dead(self, suspect: _Worker | None = None) -> None:
        if suspect is not None:
            suspect.process.join(1.0)
        for worker in self._crew:
            code = worker.process.exitcode
            if code is not None:
                raise WorkerFailed(_obituary(worker.process.name, worker.process.pid, code))

    def _settle(self) -> None:
        """Stop the present batches and wait for their workers; after a death, end them all."""
        self._control.begin()
        try:
            while any(worker.tasks for worker in self._crew):
                self._receive(None)
        except WorkerFailed:
            self._dismiss()
        self._done.clear()
        if not self._persistent:
            self._dismiss()

    def _dismiss(self) -> None:
        crew, self._crew = self._crew, []
        self._control.begin()
        for worker in crew:
            # The end of the pipe is the sign to go.
            worker.pipe.close()
        for worker in crew:
            worker.process.join(_END_SECONDS)
            if worker.process.exitcode is None:
                worker.process.kill()
                worker.process.join()
            worker.process.close()
        self._done.clear()


def _obituary(name: str, pid: int | None, code: int) -> str:
    who = f"data worker {name} (pid {pid})"
    if code == -signal.SIGKILL:
        return f"{who} was killed: most likely out of memory; lower num_workers, prefetch_factor or batch_size"
    if code < 0:
        return f"{who} was ended by {signal.Signals(-code).name}; loader=threads does without processes"
    return f"{who} left with exit code {code}; its last words are in trainer.log. loader=threads does without processes"
