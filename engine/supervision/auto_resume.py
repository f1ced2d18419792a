"""auto_resume: whether a crashed trainer is restarted, and after which delay. Pure."""

from __future__ import annotations

from gputrain.engine.events import Outcome, RunEnded

TRIES = 6
"""Restarts in a row without progress beyond the furthest step so far; then the run ends."""
FIRST_SECONDS = 2.0
"""Delay before the first restart; it doubles each time, up to two minutes in all."""
_NOT_RETRIED = ("BadInput:", "Diverged:")
"""Start of the errors that the same settings would cause again."""


class AutoResume:
    """Counts the restarts since the run last made progress."""

    def __init__(self) -> None:
        self._furthest = -1
        self.tried = 0

    def after(self, ended: RunEnded) -> float | None:
        """Seconds to wait before the restart; None: no restart, the run ends with `ended`."""
        crashed = ended.outcome is Outcome.KILLED or (
            ended.outcome is Outcome.FAILED and not ended.error.startswith(_NOT_RETRIED)
        )
        if not crashed:
            return None
        if ended.step > self._furthest:
            self._furthest, self.tried = ended.step, 0
        if self.tried >= TRIES:
            return None
        self.tried += 1
        return FIRST_SECONDS * float(1 << (self.tried - 1))
