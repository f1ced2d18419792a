"""Losses of steps, taken from the device beside the loop, and when the device was done with each step.

On a GPU the call of a step returns as soon as its work is queued. A thread waits for each loss in turn; the time at
which it comes is that at which the step was done, so that the loop neither waits for the device nor runs far ahead of
it. On the CPU a step is done when its call returns, and no thread is needed.
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
"""Steps that may be queued on the device unfinished."""
_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class LaunchedStep:
    """A step whose call has returned."""

    number: int
    """Of the step, from 1."""
    figures: Any
    """Its loss and loss scale, float32 (2,), on the device."""
    indices: Indices
    began: float
    """When it was called, by ``time.perf_counter``."""
    waited: float
    """Seconds that the loop waited for its batch before."""
    first: bool
    """The wait was for the first batch of an epoch."""


@dataclass(frozen=True, slots=True)
class FinishedStep:
    """A step that is done."""

    number: int
    loss: float
    scale: float
    indices: Indices
    waited: float
    """Seconds that the device had nothing to do for want of a batch."""
    compute: float
    gap: float
    """Seconds that it had nothing to do though there was a batch."""
    first: bool


class LossFetcher:
    """Takes steps in, in their order, and gives them out when they are done."""

    def __init__(self, *, beside: bool) -> None:
        """`beside`: on a thread; else a step is done when it comes."""
        self._queue: queue.Queue[LaunchedStep | None] = queue.Queue(_AHEAD)
        self._lock = threading.Lock()
        self._done: list[FinishedStep] = []
        self._ended: float | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._fetch, name="losses", daemon=True) if beside else None
        if self._thread is not None:
            self._thread.start()

    def add(self, step: LaunchedStep) -> None:
        """Take in a step; waits while too many are unfinished. Raises what went wrong on the device."""
        if self._thread is None:
            self._settle(step)
            return
        self._raise()
        self._queue.put(step)

    def skip(self) -> None:
        """What the device did not do since the last step was none of the training's."""
        self.drain()
        self._ended = None

    def take(self) -> list[FinishedStep]:
        """The steps that were done since the last call. Raises what went wrong on the device."""
        self._raise()
        with self._lock:
            done, self._done = self._done, []
        return done

    def drain(self) -> None:
        """Return once all steps are done. Raises what went wrong on the device."""
        if self._thread is not None:
            self._queue.join()
        self._raise()

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=_PATIENCE_SECONDS)
            # One that waits for a device which never answers is left behind.
            self._thread.join(_PATIENCE_SECONDS)
            self._thread = None

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _fetch(self) -> None:
        while (step := self._queue.get()) is not None:
            try:
                # After an error only room is made, so that the loop comes to see it.
                if self._error is None:
                    self._settle(step)
            except Exception as error:  # noqa: BLE001 - raised again on the thread of the training
                self._error = error
            finally:
                self._queue.task_done()

    def _settle(self, step: LaunchedStep) -> None:
        loss, scale = (float(value) for value in step.figures.numpy())
        now = time.perf_counter()
        idle = step.waited if self._ended is None else max(0.0, step.began - self._ended)
        waited = min(step.waited, idle)
        began = step.began if self._ended is None else max(step.began, self._ended)
        self._ended = now
        done = FinishedStep(step.number, loss, scale, step.indices, waited, now - began, idle - waited, step.first)
        with self._lock:
            self._done.append(done)
