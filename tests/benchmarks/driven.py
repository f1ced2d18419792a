"""Drives a real `Trainer` turn by turn from the measuring thread."""

from __future__ import annotations

import contextlib
import multiprocessing
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import torch
from harness import Pass

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events import LoaderStats, Outcome
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.training.distributed.process_group import SingleProcess
from gputrain.engine.training.loader import run_loaders
from gputrain.engine.training.loader.make_loader import AnyLoader, make_loader
from gputrain.engine.training.loop.trainer import Trainer
from gputrain.engine.training.runtime.batch import Batch


class Gate:
    """A gate that lets the trainer's thread run turn by turn."""

    def __init__(self, finish: Callable[[], None]) -> None:
        """`finish` waits for all that was asked of the device."""
        self._finish = finish
        self._go = threading.Semaphore(0)
        self._reached = threading.Semaphore(0)
        self.failure: BaseException | str = ""

    def wait(self) -> None:
        """Called by the trainer's thread between two turns, when the device has finished all work."""
        self._finish()
        self._reached.release()
        self._go.acquire()

    def fail(self, why: BaseException | str) -> None:
        """The trainer has ended: release all waiting threads."""
        self.failure = why
        self._reached.release()

    def start(self) -> None:
        """Wait until the trainer is at the gate for the first time. Raises RuntimeError if it never gets there."""
        self._reached.acquire()
        self._check()

    def turn(self) -> None:
        """Let the trainer do one turn, and wait for its end. Raises RuntimeError if the trainer ended instead."""
        self._go.release()
        self._reached.acquire()
        self._check()

    def _check(self) -> None:
        if self.failure:
            raise RuntimeError(f"the trainer ended: {self.failure}")


class Resident:
    """A loader without cost: one batch in memory, repeated; a turn is a number of steps."""

    def __init__(self, gate: Gate, config: RunConfig, classes: int, steps: int) -> None:
        self._ranks = config.devices
        size, count = config.data.image_size, config.data.batch_size
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
        labels = torch.randint(0, classes, (count,), generator=generator)
        if config.data.pin_memory and torch.cuda.is_available():
            images, labels = images.pin_memory(), labels.pin_memory()
        self._batch = (images, labels, torch.arange(count))
        self._gate, self._turn = gate, steps
        self.note = ""

    def __len__(self) -> int:
        return 1_000_000

    @property
    def all_batches(self) -> int:
        """Batches of all ranks per epoch."""
        return len(self) * self._ranks

    @property
    def batch_images(self) -> int:
        """Images of a batch."""
        return len(self._batch[0])

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for number in range(start, len(self)):
            if number % self._turn == 0:
                self._gate.wait()
            yield Batch(*self._batch, epoch, number)

    def queue(self) -> tuple[int, int]:
        return 1, 1

    def take_stats(self) -> LoaderStats:
        return LoaderStats(
            workers=0,
            kind="inline",
            seconds=0.0,
            samples=0,
            busy=None,
            cpu_ratio=None,
            run_delay=None,
            read_share=None,
            bytes_read=None,
            disk_bytes=None,
        )

    def close(self) -> None:
        pass


EPOCHS = 3
"""Of a turn: what workers gain by going on from one epoch into the next is a part of the work."""


class ByEpochs:
    """The real loader; a turn is `EPOCHS` epochs, and nothing is loaded between two turns."""

    def __init__(self, gate: Gate, inner: AnyLoader) -> None:
        self._gate, self._inner = gate, inner
        self.note = ""
        self.queue, self.take_stats, self.close = inner.queue, inner.take_stats, inner.close

    def __len__(self) -> int:
        return len(self._inner)

    @property
    def all_batches(self) -> int:
        """Batches of all ranks per epoch."""
        return self._inner.all_batches

    @property
    def batch_images(self) -> int:
        """Images of a batch."""
        return self._inner.batch_images

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        turn = epoch % EPOCHS
        if turn == 0:
            self._gate.wait()
        yield from self._inner.epoch(turn, start)


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def driven(
    config: RunConfig,
    steps: int | None,
    patches: Sequence[tuple[object, str, Any]] = (),
    finish: Callable[[], None] = _synchronize,
    ranks: SingleProcess | None = None,
) -> Pass:
    """A pass of the real training loop: `steps` steps on a resident batch, or with None `EPOCHS` epochs of real data.

    `patches` (object, attribute, value) replace parts of the program; `finish` waits for the device. `ranks`: the
    process group, if this is one of several ranks, each of which has a pass of its own.
    """
    gate = Gate(finish)
    folder = tempfile.mkdtemp(prefix="gputrain-bench-run-")
    context = multiprocessing.get_context("spawn")
    outbox, (inbox, _hold) = context.Queue(10_000), context.Pipe(duplex=False)
    threading.Thread(target=_drain, args=(outbox,), daemon=True).start()

    def make(images: object, run: RunConfig, *, train: bool, pin: bool, **others: Any) -> Resident | ByEpochs:
        if steps is not None:
            return Resident(gate, run, len(images.classes), steps)  # type: ignore[attr-defined]
        turn = msgspec.structs.replace(run, epochs=EPOCHS)
        return ByEpochs(gate, make_loader(images, turn, train=train, pin=pin, **others))  # type: ignore[arg-type]

    def run() -> None:
        try:
            reporter = EventReporter(outbox)
            ended = Trainer(Path(folder), config, reporter, TrainerControl(inbox, reporter), ranks).train()
            gate.fail(ended.reason if ended.outcome is not Outcome.FINISHED else "all steps are done")
        except BaseException as error:  # noqa: BLE001 - reported to the waiting thread
            gate.fail(error)

    # The patches stay for the life of this process, which is a contender's own.
    for place, name, value in ((run_loaders, "make_loader", make), *patches):
        mock.patch.object(place, name, value).start()
    threading.Thread(target=run, daemon=True).start()
    gate.start()
    images = config.data.batch_size * steps if steps is not None else _images(config)

    def one_pass() -> int:
        gate.turn()
        _ = _hold
        return images

    return one_pass


def _drain(outbox: Queue[bytes]) -> None:
    """Read what the trainer reports, as a supervisor does."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            outbox.get()


def _images(config: RunConfig) -> int:
    """Images of a turn: whole batches."""
    count = len(list(Path(config.data.data_dir).glob("train/*/*.jpg")))
    return EPOCHS * (count // config.data.batch_size * config.data.batch_size)
