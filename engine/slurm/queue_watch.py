"""Asks Slurm for the states of jobs on a thread, so that no screen waits for a controller under load."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from gputrain.engine.slurm.slurm_commands import JobState, job_states

ASK_SECONDS = 5.0
"""Shortest time between two questions: each costs the cluster's controller."""


class QueueWatch:
    """The newest states of jobs; `states` returns at once."""

    def __init__(self, ask: Callable[[Iterable[int]], dict[int, JobState]] = job_states) -> None:
        self._ask = ask
        self._known: dict[int, JobState] = {}
        self._asked = 0.0
        self._thread: threading.Thread | None = None

    def states(self, numbers: Iterable[int]) -> dict[int, JobState]:
        """The states of jobs by id, as of the last answer; unknown without one. Asks again after `ASK_SECONDS`."""
        wanted, known = frozenset(numbers), self._known
        idle = self._thread is None or not self._thread.is_alive()
        new = not wanted <= known.keys()
        if wanted and idle and (new or time.monotonic() - self._asked >= ASK_SECONDS):
            self._thread = threading.Thread(target=self._answer, args=(wanted,), name="squeue", daemon=True)
            self._thread.start()
        return {number: known.get(number, JobState()) for number in wanted}

    def wait(self, seconds: float) -> None:
        """Wait until a question that is on its way has its answer, at most `seconds`."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _answer(self, wanted: frozenset[int]) -> None:
        found = self._ask(wanted)
        self._asked = time.monotonic()
        self._known = found
