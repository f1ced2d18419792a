"""Whether a crashed trainer is restarted, and after which delay: `auto_resume`, and `max_restarts` for ranks. Pure."""

from __future__ import annotations

from gputrain.engine.events import Outcome, RunEnded
from gputrain.engine.processes.rank_events import RANK_LOST

TRIES = 6
"""Restarts in a row without progress beyond the furthest step so far; then the run ends."""
FIRST_SECONDS = 2.0
"""Delay before the first restart; it doubles each time, up to two minutes in all."""
_NOT_RETRIED = ("BadInput:", "Diverged:")
"""Start of the errors that the same settings would cause again."""


class AutoResume:
    """Counts the restarts since the run last made progress."""

    def __init__(self, *, every_crash: bool = True, lost_ranks: int = 0) -> None:
        """`every_crash`: restart after any crash; else only after the loss of a rank, `lost_ranks` times, at once."""
        self._every = every_crash
        self._furthest = -1
        self.tried = 0
        self.tries = TRIES if every_crash else lost_ranks

    @property
    def setting(self) -> str:
        """The setting that asks for the restarts."""
        return "auto_resume" if self._every else "max_restarts"

    def after(self, ended: RunEnded) -> float | None:
        """Seconds to wait before the restart; None: no restart, the run ends with `ended`."""
        lost = ended.outcome is Outcome.KILLED or ended.error.startswith(RANK_LOST)
        failed = ended.outcome is Outcome.FAILED and not ended.error.startswith(_NOT_RETRIED)
        if not (lost or (failed and self._every)):
            return None
        if ended.step > self._furthest:
            self._furthest, self.tried = ended.step, 0
        if self.tried >= self.tries:
            return None
        self.tried += 1
        return FIRST_SECONDS * float(1 << (self.tried - 1)) if self._every else 0.0
