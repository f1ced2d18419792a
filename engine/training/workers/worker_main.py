"""The main loop of a worker process. The fork server imports this module once for all workers."""

from __future__ import annotations

import dataclasses
import faulthandler
import functools
import os
import signal
import traceback
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Connection

import torch

from gputrain.engine.common.errors import BadInput
from gputrain.engine.dataloading.worker_accounting import BatchAccounting
from gputrain.engine.probe.on_request import stack_dump
from gputrain.engine.processes.watchdog import STACKS_SIGNAL
from gputrain.engine.training.workers import slot_buffer, worker_pool
from gputrain.engine.training.workers.fill_batch import BatchFiller
from gputrain.engine.training.workers.slot_buffer import SharedMemory, SlotShape
from gputrain.engine.training.workers.worker_pool import FilledBatch, Work, WorkerError


@dataclass(frozen=True, slots=True)
class WorkerTask:
    """One batch to fill; its indices are in its slot."""

    run: int
    epoch: int
    number: int
    slot: int
    count: int


class WorkerControl:
    """The number of the present index stream, in the last page of the shared memory; workers drop older tasks."""

    BYTES = 4096

    def __init__(self, memory: torch.Tensor) -> None:
        self._cell = memory[-self.BYTES :].view(torch.int64)[:1].numpy()

    def begin(self) -> int:
        """Begin a new stream; all tasks of earlier ones are cancelled."""
        self._cell[0] += 1
        return int(self._cell[0])

    def is_over(self, run: int) -> bool:
        """Whether stream `run` has ended."""
        return bool(self._cell[0] != run)


def worker_loop(pipe: Connection, filler: BatchFiller, shape: SlotShape) -> None:
    """Fill batches until the trainer closes the pipe or dies."""
    # Ctrl+C in a terminal reaches every process; the trainer handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    faulthandler.register(STACKS_SIGNAL, all_threads=True)
    stack_dump.install()
    torch.set_num_threads(1)
    memory = SharedMemory(shape.total_bytes + WorkerControl.BYTES, reduction.recv_handle(pipe))
    slots, control, meter = slot_buffer.slots_in(memory.tensor, shape), WorkerControl(memory.tensor), BatchAccounting()
    while True:
        try:
            task: WorkerTask = pipe.recv()
        except EOFError:
            return
        slot = slots[task.slot]
        indices = slot.indices[: task.count].numpy().copy()
        work = Work(task.epoch, task.number, task.slot, indices)
        filled = worker_pool.fill(filler, slot, work, meter, functools.partial(control.is_over, task.run))
        try:
            pipe.send(_picklable(filled))
        except BrokenPipeError:
            return


def _picklable(filled: FilledBatch) -> FilledBatch:
    """`filled` with its error as text: not every exception can be pickled."""
    if filled.error is None:
        return filled
    if isinstance(filled.error, BadInput):  # a message for the user, of whatever sub-class
        return dataclasses.replace(filled, error=BadInput(str(filled.error)))
    text = "".join(traceback.format_exception(filled.error))
    return FilledBatch(filled.number, filled.slot, 0, filled.tally, error=WorkerError(f"in pid {os.getpid()}: {text}"))
