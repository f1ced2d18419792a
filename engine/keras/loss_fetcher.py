"""Fetches losses of steps from the device on a thread, and records when the device finished each step.

On a GPU the call of a step returns as soon as its work is queued. The thread waits for each loss in turn; it arrives
when the step is finished. So the loop does not wait for the device and does not run far ahead of it. On the
CPU a step is finished when its call returns, and no thread is needed.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from dataclasses import dataclass
from typing import Any

from gputrain.engine.dataloading.batch_sampler import Indices

_AHEAD = 4
"""Largest number of unfinished steps on the device."""
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class LaunchedStep:
    """A step whose call has returned."""

    number: int
    """Number of the step, from 1."""
    outputs: Any
    """Loss and loss scale, float32 (2,), on the device."""
    indices: Indices
    began: float
    """Time of the call, from ``time.perf_counter``."""
    waited: float
    """Seconds that the loop waited for its batch."""
    first: bool
    """The wait was for the first batch of an epoch."""


@dataclass(frozen=True, slots=True)
class FinishedStep:
    """A step that the device has finished."""

    number: int
    loss: float
    scale: float
    indices: Indices
    waited: float
    """Seconds that the device was idle without a batch."""
    compute: float
    gap: float
    """Seconds that the device was idle though there was a batch."""
    first: bool


class LossFetcher:
    """Queue of launched steps, in order, that returns finished ones."""

    def __init__(self, *, threaded: bool) -> None:
        """`threaded`: fetch on a thread; else a step is finished when it is added."""
        self._queue: queue.Queue[LaunchedStep | None] = queue.Queue(_AHEAD)
        self._lock = threading.Lock()
        self._done: list[FinishedStep] = []
        self._ended: float | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._fetch, name="losses", daemon=True) if threaded else None
        if self._thread is not None:
            self._thread.start()

    def add(self, step: LaunchedStep) -> None:
        """Add a step; waits while too many are unfinished. Raises errors of the device."""
        if self._thread is None:
            self._settle(step)
            return
        self._raise()
        self._queue.put(step)

    def skip(self) -> None:
        """Leave idle time since the last step out of `waited` and `gap`."""
        self.drain()
        self._ended = None

    def take(self) -> list[FinishedStep]:
        """Steps finished since the last call. Raises errors of the device."""
        self._raise()
        with self._lock:
            done, self._done = self._done, []
        return done

    def drain(self) -> None:
        """Return when all steps are finished. Raises errors of the device."""
        if self._thread is not None:
            self._queue.join()
        self._raise()

    def close(self) -> None:
        """Stop the thread."""
        if self._thread is not None:
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=_TIMEOUT_SECONDS)
            # A thread that waits for a hanging device is abandoned.
            self._thread.join(_TIMEOUT_SECONDS)
            self._thread = None

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _fetch(self) -> None:
        while (step := self._queue.get()) is not None:
            try:
                # After an error the queue is only emptied, so that the loop sees the error.
                if self._error is None:
                    self._settle(step)
            except Exception as error:  # noqa: BLE001 - raised again on the thread of the training
                self._error = error
            finally:
                self._queue.task_done()

    def _settle(self, step: LaunchedStep) -> None:
        loss, scale = (float(value) for value in step.outputs.numpy())
        now = time.perf_counter()
        idle = step.waited if self._ended is None else max(0.0, step.began - self._ended)
        waited = min(step.waited, idle)
        began = step.began if self._ended is None else max(step.began, self._ended)
        self._ended = now
        done = FinishedStep(step.number, loss, scale, step.indices, waited, now - began, idle - waited, step.first)
        with self._lock:
            self._done.append(done)
