"""A queue of functions that the supervisor's threads hand to its main thread, the only one that changes state."""

from __future__ import annotations

import queue
from collections.abc import Callable

TICK_SECONDS = 0.5


class MainThreadQueue:
    """`put` may be called on any thread and in a signal handler: SimpleQueue is reentrant."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def put(self, work: Callable[[], None]) -> None:
        """Run `work` on the main thread."""
        self._work.put(work)

    def do(self, done: Callable[[], bool], tick: Callable[[], None]) -> None:
        """Run queued work until `done()` is true; calls `tick` at least every `TICK_SECONDS`."""
        while not done():
            try:
                self._work.get(timeout=TICK_SECONDS)()
                while not done():
                    self._work.get_nowait()()
            except queue.Empty:
                pass
            tick()
