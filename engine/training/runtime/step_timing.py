"""Where the time of a window of steps goes: waiting for data, copying, computing, anything else.

On a GPU copies and computation are timed by CUDA events, which cost no synchronisation: a window's figures are
read once the device has passed them. The host queues work ahead of the device; it has waited in vain for a batch
only in so far as the device had nothing to do meanwhile. On the CPU the clock serves.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from gputrain.engine.training.runtime.device import Compute

Part = Literal["prepare", "forward", "backward", "update"]
"""Changes of images on the device, the forward pass with its loss, the backward pass, the update of the weights."""
PARTS: tuple[Part, ...] = ("prepare", "forward", "backward", "update")

_MAX_QUEUED = 24
"""Parts of steps that may be queued on the device unfinished: enough
for a host that is held up, few enough that the queue of finished batches is not drained into device memory."""


@dataclass(slots=True)
class _QueuedWork:
    """Work on the device between two events."""

    kind: Literal["copy", "exchange"] | Part
    begin: torch.cuda.Event
    end: torch.cuda.Event
    waited: float = 0.0
    """Seconds that the host waited for data before it queued this."""
    first: bool = False
    """The wait was for the first batch of an epoch."""


def new_event() -> torch.cuda.Event:
    """A CUDA event that tells the time."""
    return torch.cuda.Event(enable_timing=True)


class StepClock:
    """Adds up the parts of the present window."""

    def __init__(self, compute: Compute) -> None:
        self._gpu = compute.is_gpu
        self._pending: deque[_QueuedWork] = deque()
        self._first_of_epoch = True
        self.skip()

    def skip(self) -> None:
        """Begin a new window after something else than training, and forget what is still queued."""
        self._pending.clear()
        self._last: torch.cuda.Event | None = None
        self._waited, self._waited_first = 0.0, False
        self._ahead = 0.0
        self.restart()

    def restart(self) -> None:
        """Begin a new window right after the one before."""
        self.began = time.perf_counter()
        self.wait = self.first_wait = self.wait_squares = 0.0
        self.parts: dict[Part, float] = dict.fromkeys(PARTS, 0.0)
        self.copy = self.gap = 0.0 if self._gpu else None
        self.exchange = 0.0
        """Seconds in which nothing was done but wait for other ranks' gradients."""

    def new_epoch(self) -> None:
        """The next wait is for the first batch of an epoch."""
        self._first_of_epoch = True

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Time inside is spent on waiting for a batch."""
        began = time.perf_counter()
        yield
        self._waited += time.perf_counter() - began
        self._waited_first |= self._first_of_epoch
        self._first_of_epoch = False
        if not self._gpu:
            self._count_wait(*self._take_wait())

    def _take_wait(self) -> tuple[float, bool]:
        waited = self._waited, self._waited_first
        self._waited, self._waited_first = 0.0, False
        return waited

    def _count_wait(self, seconds: float, first: bool) -> None:
        self.wait += seconds
        self.wait_squares += seconds * seconds
        if first:
            self.first_wait += seconds

    @contextlib.contextmanager
    def copying(self, stream: torch.cuda.Stream) -> Iterator[None]:
        """Work that is queued on `stream` inside is a copy."""
        begin, end = new_event(), new_event()
        begin.record(stream)
        yield
        end.record(stream)
        self._pending.append(_QueuedWork("copy", begin, end))

    @property
    def compute(self) -> float:
        """Seconds of all parts of steps."""
        return sum(self.parts.values())

    @contextlib.contextmanager
    def computing(self, part: Part) -> Iterator[None]:
        """Work inside is a part of a step; on a GPU it is not queued too far ahead."""
        if not self._gpu:
            began = time.perf_counter()
            yield
            self.parts[part] += time.perf_counter() - began
            return
        self._limit_queue()
        waited, first = self._take_wait()
        begin, end = new_event(), new_event()
        begin.record()
        yield
        end.record()
        self._pending.append(_QueuedWork(part, begin, end, waited, first))

    @contextlib.contextmanager
    def exchanging(self) -> Iterator[None]:
        """What is waited for inside are other ranks."""
        if not self._gpu:
            began = time.perf_counter()
            yield
            self.exchange += time.perf_counter() - began
            return
        begin, end = new_event(), new_event()
        begin.record()
        yield
        end.record()
        self._pending.append(_QueuedWork("exchange", begin, end))

    def _limit_queue(self) -> None:
        queued = [work for work in self._pending if work.kind != "copy"]
        if len(queued) >= _MAX_QUEUED:
            queued[-_MAX_QUEUED].end.synchronize()
            self.collect()

    def collect(self) -> None:
        """Take in what the device has finished, without waiting for it."""
        while self._pending and self._pending[0].end.query():
            work = self._pending.popleft()
            seconds = work.begin.elapsed_time(work.end) / 1000
            if work.kind == "copy":
                self.copy = (self.copy or 0.0) + seconds
                continue
            if work.kind == "exchange":
                self.exchange += seconds
            else:
                self.parts[work.kind] += seconds
            idle = work.waited if self._last is None else self._last.elapsed_time(work.begin) / 1000
            self._count_wait(min(work.waited, idle), work.first)
            self.gap = (self.gap or 0.0) + max(0.0, idle - work.waited)
            self._last = work.end

    @property
    def seconds(self) -> float:
        """Age of the window."""
        return time.perf_counter() - self.began

    def other(self, seconds: float) -> float:
        """What of the window's `seconds` is none of the parts.

        Work that is finished in a later window than the one it was queued in is weighed against both.
        """
        rest = seconds - self.wait - (self.copy or 0.0) - self.compute - self.exchange + self._ahead
        self._ahead = min(0.0, rest)
        return max(0.0, rest)
