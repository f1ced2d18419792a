"""Set-up of a trace: settings, simulated device, faulty samples, duration."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from diagnosis_machine import MachineFault

from gputrain.engine.dataloading.worker_accounting import BatchAccounting
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.diagnosis.windows import event_window
from gputrain.engine.training.transforms import decode
from gputrain.engine.training.transforms.decode import Choose
from gputrain.engine.training.workers.fill_batch import read_file

_lock = threading.Lock()
_started = threading.Event()
"""Set once this process has made a sample."""
AHEAD = 6
"""Steps that are queued on the device unfinished at most, as by the trainer's clock."""
WINDOW = 3.0
"""Seconds of a window in most traces; the program's window and warm-up are longer."""
_JUDGED = 3
"""Windows that are judged in a trace; a hint needs two in a row."""
_SLACK = 0.6
"""Seconds until the values of the last window are reported."""


@dataclass(frozen=True)
class SampleFault:
    """Faults of the samples. Waiting for files is not part of it: the accounting measures it."""

    sleep: float = 0.0
    """Seconds that each sample waits for something that is no file (a network, say)."""
    locked: float = 0.0
    """Seconds that each sample holds a lock that all workers share."""
    slow: tuple[int, ...] = ()
    """Indices of files that take `slow_seconds` longer."""
    slow_seconds: float = 0.0
    start: float = 0.0
    """Seconds that a worker process needs longer to begin (to open an archive, say)."""
    uncached: bool = False
    """Each file is dropped from the page cache before it is read."""


@dataclass(frozen=True)
class FaultySource:
    """Faulty files, which replace the loader's `FileSource`."""

    images: ImageSet
    fault: SampleFault
    files: int
    """How many there are; later indices are the same files again."""

    def render(self, index: int, choose: Choose, out: torch.Tensor, meter: BatchAccounting) -> None:
        """As `FileSource`, with the faults; the reading is that of the program, and so is its accounting."""
        fault, path = self.fault, self.images.path(index)
        if fault.start and not _started.is_set():
            time.sleep(fault.start)
        _started.set()
        if fault.uncached:
            _drop(path)
        data = read_file(path, meter)
        if fault.sleep:
            time.sleep(fault.sleep)
        if fault.locked:
            with _lock:
                time.sleep(fault.locked)
        if index % self.files in fault.slow:
            time.sleep(fault.slow_seconds)
        decode.decode_into(data, path, choose, out)


def _drop(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Stall:
    """Interruptions of the training loop, as often as a setting says.

    A checkpoint comes every ``checkpoint_steps`` steps, a validation after ``validate_epochs`` epochs of `every`.
    """

    how: Literal["saves", "validates"]
    seconds: float
    every: float = 0.0
    """Seconds of an epoch where it is validated."""


@dataclass(frozen=True)
class Setup:
    """The input of the process that records a trace."""

    folder: str
    """Images in class folders below ``train``."""
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    step: float = 0.0
    """Seconds that the simulated device computes on a batch; 0: the real trainer."""
    copy: float = 0.0
    host: float = 0.0
    """Seconds that the host needs to launch a step; the device is idle where they are more than its own."""
    jitter: float = 0.0
    """Share by which steps are longer or shorter, by turns."""
    stall: Stall | None = None
    sample: SampleFault = SampleFault()
    machine: MachineFault = field(default_factory=MachineFault)
    epoch_seconds: float = 0.0
    """Length of an epoch of the simulated device; 0: as long as the trace."""
    first_epoch: int = 0
    window: float = WINDOW
    """Seconds of a window; what comes before is as much shorter than the program's."""
    device: str = "cpu"
    """Of the real trainer."""

    @property
    def warm_up(self) -> float:
        """Seconds of warm-up."""
        return self.window * event_window.WARM_UP_SECONDS / event_window.WINDOW_SECONDS

    @property
    def least(self) -> float:
        """Seconds on steps below which a window has no signals."""
        return self.window * event_window.LEAST_SECONDS / event_window.WINDOW_SECONDS

    @property
    def seconds(self) -> float:
        """Seconds of the trace."""
        # A stall within the first steps makes the first window later, and the last one with it.
        stalled = self.stall.seconds if self.stall is not None else 0.0
        return self.warm_up + self.least + stalled + (_JUDGED - 1) * self.window + _SLACK
