"""Step timing: splits the time of a window of steps into data wait, copies, computation and the rest.

On a GPU, CUDA events time copies and computation without synchronisation; they are read once the device has passed
them. The host queues work ahead of the device, so its wait for a batch counts only as far as the device was idle
meanwhile. On the CPU, wall time is used.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch

from gputrain.engine.processes.rank_board import EXCHANGE, RankBoard
from gputrain.engine.training.runtime.device import Compute

Part = Literal["prepare", "forward", "backward", "update"]
"""Augmentation on the device, forward pass with loss, backward pass, optimizer step."""
PARTS: tuple[Part, ...] = ("prepare", "forward", "backward", "update")

_MAX_QUEUED = 24
"""Parts of steps that may be queued on the device: enough to cover delays of the host, few enough that the queue of
finished batches is not drained into device memory."""


@dataclass(slots=True)
class _QueuedWork:
    """Work on the device between two CUDA events."""

    kind: Literal["copy", "exchange"] | Part
    begin: torch.cuda.Event
    end: torch.cuda.Event
    waited: float = 0.0
    """Seconds that the host waited for data before it queued this work."""
    first: bool = False
    """The wait was for the first batch of an epoch."""


def new_event() -> torch.cuda.Event:
    """A CUDA event with timing."""
    return torch.cuda.Event(enable_timing=True)


class StepClock:
    """Sums the parts of the present window."""

    def __init__(self, compute: Compute, board: RankBoard | None = None) -> None:
        """`board`: where this rank shows what it does, if there are several."""
        self._gpu = compute.is_gpu
        self.data_span: Callable[[], AbstractContextManager[object]] | None = None
        """While a trace is recorded: marks the wait for a batch in it."""
        self._enter = board.enter if board is not None else lambda place: None
        self._pending: deque[_QueuedWork] = deque()
        self._computed: float | torch.cuda.Event | None = None
        """When the present part became a wait for other ranks: a time, on a GPU an event."""
        self._first_of_epoch = True
        self.skip()

    def skip(self) -> None:
        """Begin a new window after something other than training; discards queued work."""
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
        """Seconds spent only waiting for the gradients of other ranks."""

    def new_epoch(self) -> None:
        """The next wait is for the first batch of an epoch."""
        self._first_of_epoch = True

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside as waiting for a batch."""
        self._enter("the wait for data")
        began = time.perf_counter()
        if self.data_span is None:
            yield
        else:
            with self.data_span():
                yield
        self._enter("other work")
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
        """Count work that is queued on `stream` inside as a copy."""
        begin, end = new_event(), new_event()
        begin.record(stream)
        yield
        end.record(stream)
        self._pending.append(_QueuedWork("copy", begin, end))

    @property
    def compute(self) -> float:
        """Seconds of all parts together."""
        return sum(self.parts.values())

    @contextlib.contextmanager
    def computing(self, part: Part) -> Iterator[None]:
        """Count work inside as `part`; on a GPU, first limit the number of queued parts."""
        self._begin(part)
        if not self._gpu:
            began = time.perf_counter()
            yield
            self._enter("other work")
            ended = time.perf_counter()
            computed = ended if self._computed is None else self._computed
            assert isinstance(computed, float)
            self.parts[part] += computed - began
            self.exchange += ended - computed
            return
        self._limit_queue()
        waited, first = self._take_wait()
        begin, end = new_event(), new_event()
        begin.record()
        yield
        self._enter("other work")
        end.record()
        marked = self._computed
        if isinstance(marked, torch.cuda.Event):
            self._pending.append(_QueuedWork(part, begin, marked, waited, first))
            self._pending.append(_QueuedWork("exchange", marked, end))
            return
        self._pending.append(_QueuedWork(part, begin, end, waited, first))

    def _begin(self, part: Part) -> None:
        self._computed = None
        self._enter(part)

    def computed(self) -> None:
        """Within `computing`: the rest of this part is a wait for other ranks. Any thread may call it."""
        self._enter(EXCHANGE)
        if self._gpu:
            self._computed = new_event()
            self._computed.record()
        else:
            self._computed = time.perf_counter()

    @contextlib.contextmanager
    def exchanging(self) -> Iterator[None]:
        """Count work inside as waiting for other ranks."""
        self._enter(EXCHANGE)
        if not self._gpu:
            began = time.perf_counter()
            yield
            self._enter("other work")
            self.exchange += time.perf_counter() - began
            return
        begin, end = new_event(), new_event()
        begin.record()
        yield
        self._enter("other work")
        end.record()
        self._pending.append(_QueuedWork("exchange", begin, end))

    def _limit_queue(self) -> None:
        queued = [work for work in self._pending if work.kind != "copy"]
        if len(queued) >= _MAX_QUEUED:
            queued[-_MAX_QUEUED].end.synchronize()
            self.collect()

    def collect(self) -> None:
        """Count the work that the device has finished, without waiting for it."""
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
        """Seconds since the window began."""
        return time.perf_counter() - self.began

    def other(self, seconds: float) -> float:
        """The rest of the window's `seconds`, which is none of the parts.

        Work that finishes in a later window than it was queued in is balanced over both.
        """
        rest = seconds - self.wait - (self.copy or 0.0) - self.compute - self.exchange + self._ahead
        self._ahead = min(0.0, rest)
        return max(0.0, rest)
