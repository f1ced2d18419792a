"""Where the threads of a supervisor put work for its main thread, the only one that changes state."""

from __future__ import annotations

import queue
from collections.abc import Callable

TICK_SECONDS = 0.5


class MainThreadQueue:
    """`put` may be called on any thread, and by a signal handler: the queue below is reentrant."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def put(self, work: Callable[[], None]) -> None:
        """Have `work` done on the main thread."""
        self._work.put(work)

    def do(self, done: Callable[[], bool], tick: Callable[[], None]) -> None:
        """Do the work that comes until `done`; `tick` is called at least every `TICK_SECONDS`."""
        while not done():
            try:
                self._work.get(timeout=TICK_SECONDS)()
                while not done():
                    self._work.get_nowait()()
            except queue.Empty:
                pass
            tick()
