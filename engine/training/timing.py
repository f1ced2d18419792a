"""Where the time of a window of steps goes: waiting for data, copying, computing, anything else.

On a GPU copies and computation are timed by CUDA events, which cost no synchronisation: a window's
figures are read once the device has passed them. On the CPU the clock serves.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator

import torch

from gputrain.engine.training.device import Compute


class Clock:
    """Adds up the parts of the present window."""

    def __init__(self, compute: Compute) -> None:
        self._gpu = compute.is_gpu
        self._pending: deque[tuple[str, torch.cuda.Event, torch.cuda.Event]] = deque()
        self._first_of_epoch = True
        self.restart()

    def restart(self) -> None:
        """Begin a new window."""
        self.began = time.perf_counter()
        self.wait = self.compute = self.first_wait = 0.0
        self.copy = 0.0 if self._gpu else None

    def new_epoch(self) -> None:
        """The next wait is for the first batch of an epoch."""
        self._first_of_epoch = True

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Time inside is spent on waiting for a batch."""
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        self.wait += seconds
        if self._first_of_epoch:
            self.first_wait += seconds
            self._first_of_epoch = False

    @contextlib.contextmanager
    def copying(self, stream: torch.cuda.Stream) -> Iterator[None]:
        """Work that is queued on `stream` inside is a copy."""
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record(stream)
        yield
        end.record(stream)
        self._pending.append(("copy", begin, end))

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Work inside is forward, backward or update."""
        if not self._gpu:
            began = time.perf_counter()
            yield
            self.compute += time.perf_counter() - began
            return
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        yield
        end.record()
        self._pending.append(("compute", begin, end))

    def collect(self) -> None:
        """Take in what the device has finished, without waiting for it."""
        while self._pending and self._pending[0][2].query():
            kind, begin, end = self._pending.popleft()
            seconds = begin.elapsed_time(end) / 1000
            if kind == "copy":
                self.copy = (self.copy or 0.0) + seconds
            else:
                self.compute += seconds

    @property
    def seconds(self) -> float:
        """Age of the window."""
        return time.perf_counter() - self.began


class LossMeter:
    """Means of the loss, fetched from the device without a synchronisation in each step."""

    def __init__(self, compute: Compute) -> None:
        self._gpu = compute.is_gpu
        self._sum = torch.zeros((), device=compute.device, dtype=torch.float64)
        self._steps = 0
        self._host = torch.zeros((), dtype=torch.float64, pin_memory=self._gpu)
        self._flight: tuple[torch.cuda.Event, int] | None = None
        self.epoch_sum = 0.0
        self.epoch_steps = 0

    def add(self, loss: torch.Tensor) -> None:
        """Count a step's mean loss."""
        self._sum += loss.detach()
        self._steps += 1

    def take(self, *, wait: bool = False) -> float | None:
        """Mean loss of steps since the last value; None if the device has not got there yet (never with `wait`)."""
        if not self._gpu:
            return self._settle(float(self._sum), self._reset())
        if self._flight is None and self._steps:
            self._host.copy_(self._sum, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
            self._flight = (event, self._reset())
        if self._flight is None or (not wait and not self._flight[0].query()):
            return None
        event, steps = self._flight
        event.synchronize()
        self._flight = None
        return self._settle(float(self._host), steps)

    def _reset(self) -> int:
        steps, self._steps = self._steps, 0
        self._sum = torch.zeros_like(self._sum)
        return steps

    def _settle(self, total: float, steps: int) -> float | None:
        if not steps:
            return None
        self.epoch_sum += total
        self.epoch_steps += steps
        return total / steps

    def take_epoch(self) -> float | None:
        """Mean loss of the epoch's steps; waits for the device."""
        while self._steps or self._flight is not None:
            self.take(wait=True)
        mean = self.epoch_sum / self.epoch_steps if self.epoch_steps else None
        self.epoch_sum, self.epoch_steps = 0.0, 0
        return mean
