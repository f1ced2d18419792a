"""Worker processes, which write batches into a shared slot buffer; only task numbers cross the pipes.

For data sets whose samples hold the GIL, and for more workers than one interpreter can serve.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import connection, reduction
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

from gputrain.engine.dataloading.batch_sampler import Indices
from gputrain.engine.processes import preemption
from gputrain.engine.training.workers import slot_buffer, worker_main
from gputrain.engine.training.workers.fill_batch import BatchFiller, BatchSlot
from gputrain.engine.training.workers.slot_buffer import SharedMemory, SlotShape
from gputrain.engine.training.workers.worker_main import WorkerControl, WorkerTask
from gputrain.engine.training.workers.worker_pool import FilledBatch, IndexStream, WorkerError

MAX_DEATHS = 10
"""Killed workers per epoch that are replaced; more end the run."""
_JOIN_SECONDS = 1.0
_STOP_SECONDS = 5.0
"""Time for a worker to stop before it is killed."""


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    tasks: dict[int, WorkerTask] = field(default_factory=dict)
    """Batches that it has not returned yet, by number; it works on the first."""


class ProcessWorkerPool:
    """Worker processes, started with the first index stream. `persistent`: they stay for the next one."""

    kind = "processes"

    def __init__(
        self,
        filler: BatchFiller,
        shape: SlotShape,
        workers: int,
        prefetch: int,
        on_warning: Callable[[str], None],
        *,
        persistent: bool,
        pin: bool,
    ) -> None:
        """`on_warning` gets a message for a worker that was killed and replaced, and for memory that is not pinned."""
        self.workers = workers
        self._filler = filler
        self._shape = shape
        self._prefetch = prefetch
        self._on_warning = on_warning
        self._persistent = persistent
        self._memory = SharedMemory(shape.total_bytes + WorkerControl.BYTES)
        if pin:
            self._pin()
        self._slots = slot_buffer.slots_in(self._memory.tensor, shape)
        self._control = WorkerControl(self._memory.tensor)
        self._processes: list[_Worker] = []
        self._done: dict[int, FilledBatch] = {}
        self._deaths: list[int] = []
        """Batches of the present epoch at which a worker was killed; −1 for an idle worker."""
        self._epoch = -1

    def _pin(self) -> None:
        try:
            self._memory.pin()
        except RuntimeError as error:
            # Some drivers and sandboxes refuse to pin shared memory.
            self._on_warning(f"batches are in memory that is not page-locked, copies to the GPU take longer: {error}")

    def run(self, stream: IndexStream) -> Iterator[FilledBatch]:
        """See `WorkerPool`. Raises WorkerError when a worker dies and a replacement would die too."""
        self._start_all()
        self._epoch = -1
        run = self._control.begin()
        pending = enumerate(stream)
        free = list(range(self._shape.slots))
        try:
            for number in itertools.count():
                self._dispatch(run, pending, free)
                while number not in self._done:
                    if not any(worker.tasks for worker in self._processes):
                        return
                    self._receive(None)
                filled = self._done.pop(number)
                yield filled
                free.append(filled.slot)
        finally:
            self._cancel_pending()

    def slot(self, number: int) -> BatchSlot:
        """See `WorkerPool`."""
        return self._slots[number]

    def queue(self) -> tuple[int, int]:
        """See `WorkerPool`. One slot belongs to the loop."""
        self._receive(0)
        return len(self._done), self._shape.slots - 1

    def close(self) -> None:
        """See `WorkerPool`."""
        self._stop_all()
        self._slots = []
        self._memory.close()

    def _start_all(self) -> None:
        if not self._processes:
            self._processes = [self._start(number) for number in range(self.workers)]

    def _start(self, number: int) -> _Worker:
        # The fork server imports torch once, so that workers start in milliseconds. It never holds CUDA or the
        # trainer's threads, which must not be forked.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([worker_main.__name__])
        # A batch system signals all processes of a job. The trainer handles the signal, and needs its workers.
        with preemption.blocked_signals():
            return self._start_in(context, number)

    def _start_in(self, context: ForkServerContext, number: int) -> _Worker:
        parent_end, child_end = context.Pipe(duplex=True)
        process = context.Process(
            target=worker_main.worker_loop,
            args=(child_end, self._filler, self._shape),
            name=f"loader-{number}",
            daemon=True,
        )
        process.start()
        child_end.close()
        assert process.pid is not None
        worker = _Worker(process, parent_end)
        try:
            reduction.send_handle(parent_end, self._memory.handle, process.pid)
        except OSError:
            worker.process.join(_JOIN_SECONDS)
            raise WorkerError(_failure_message(worker)) from None
        return worker

    def _dispatch(self, run: int, pending: Iterator[tuple[int, tuple[int, Indices]]], free: list[int]) -> None:
        """Give batches to the workers with the fewest, as long as there are slots."""
        while free:
            worker = min(self._processes, key=lambda w: len(w.tasks))
            if len(worker.tasks) >= self._prefetch or (planned := next(pending, None)) is None:
                return
            number, (epoch, indices) = planned
            if epoch != self._epoch:
                self._epoch = epoch
                self._deaths.clear()
            slot = free.pop()
            self._slots[slot].indices.numpy()[: len(indices)] = indices
            self._send(worker, WorkerTask(run, epoch, number, slot, len(indices)))

    def _send(self, worker: _Worker, task: WorkerTask) -> None:
        worker.tasks[task.number] = task
        # A dead worker is noticed, and replaced, when its answers are read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            worker.pipe.send(task)

    def _receive(self, timeout: float | None) -> None:
        """Receive what the workers have sent, waiting up to `timeout` seconds (None: until something arrives)."""
        by_pipe = {worker.pipe: worker for worker in self._processes}
        sentinels = [worker.process.sentinel for worker in self._processes]
        ready = connection.wait([*by_pipe, *sentinels], timeout)
        for one in ready:
            if isinstance(one, Connection) and not self._take(by_pipe[one]):
                self._replace(by_pipe[one])
        for worker in tuple(self._processes):
            if worker.process.exitcode is not None:
                self._replace(worker)

    def _take(self, worker: _Worker) -> bool:
        """Receive one answer; False if the worker is dead."""
        try:
            filled: FilledBatch = worker.pipe.recv()
        except (EOFError, OSError):
            return False
        worker.tasks.pop(filled.number, None)
        self._done[filled.number] = filled
        return True

    def _replace(self, worker: _Worker) -> None:
        """Replace a killed worker by a new one, which gets its tasks: the batches stay the same.

        Raises WorkerError if a replacement cannot help: the worker exited by itself, its batch has killed a worker
        before, or too many workers died.
        """
        worker.process.join(_JOIN_SECONDS)
        while worker.pipe.poll() and self._take(worker):
            pass
        code = worker.process.exitcode
        at_work = next(iter(worker.tasks), None)
        if code is None or code >= 0 or len(self._deaths) >= MAX_DEATHS or at_work in self._deaths:
            raise WorkerError(_failure_message(worker))
        self._deaths.append(at_work if at_work is not None else -1)
        self._on_warning(f"{_exit_description(worker)}; a new worker makes its {len(worker.tasks)} batches")
        worker.pipe.close()
        place = self._processes.index(worker)
        replacement = self._start(place)
        self._processes[place] = replacement
        for task in worker.tasks.values():
            self._send(replacement, task)

    def _cancel_pending(self) -> None:
        """Cancel the present batches and wait for their workers; after a death, stop all workers."""
        self._control.begin()
        try:
            while any(worker.tasks for worker in self._processes):
                self._receive(None)
        except WorkerError:
            self._stop_all()
        self._done.clear()
        if not self._persistent:
            self._stop_all()

    def _stop_all(self) -> None:
        processes, self._processes = self._processes, []
        self._control.begin()
        for worker in processes:
            # A worker stops when its pipe is closed.
            worker.pipe.close()
        for worker in processes:
            worker.process.join(_STOP_SECONDS)
            if worker.process.exitcode is None:
                worker.process.kill()
                worker.process.join()
            worker.process.close()
        self._done.clear()


def _exit_description(worker: _Worker) -> str:
    code = worker.process.exitcode
    who = f"data worker {worker.process.name} (pid {worker.process.pid})"
    if code is None:
        return f"{who} closed its pipe"
    if code >= 0:
        return f"{who} exited with code {code}"
    return f"{who} was killed by {signal.Signals(-code).name}"


def _failure_message(worker: _Worker) -> str:
    code = worker.process.exitcode
    if code == -signal.SIGKILL:
        remedy = "most likely out of memory: lower num_workers, prefetch_factor or batch_size"
    elif code is not None and code >= 0:
        remedy = "trainer.log has its last output; loader=threads uses no processes"
    else:
        remedy = "loader=threads uses no processes"
    return f"{_exit_description(worker)}; {remedy}"
