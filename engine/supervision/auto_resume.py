"""Whether and when a trainer that crashed is started again. Pure."""

from __future__ import annotations

from gputrain.engine.events import Outcome, RunEnded

TRIES = 6
"""Starts in a row that may bring the run no further than it ever was."""
FIRST_SECONDS = 2.0
"""Wait before the first of them; each further one waits twice as long: two minutes in all."""
_HOPELESS = ("BadInput:", "Diverged:")
"""Failures that the same settings would lead to again."""


class AutoResume:
    """Counts the starts since the run last got further."""

    def __init__(self) -> None:
        self._furthest = -1
        self.tried = 0

    def after(self, ended: RunEnded) -> float | None:
        """Seconds to wait before the next start; None: the run ends as `ended` says."""
        crashed = ended.outcome is Outcome.KILLED or (
            ended.outcome is Outcome.FAILED and not ended.error.startswith(_HOPELESS)
        )
        if not crashed:
            return None
        if ended.step > self._furthest:
            self._furthest, self.tried = ended.step, 0
        if self.tried >= TRIES:
            return None
        self.tried += 1
        return FIRST_SECONDS * float(1 << (self.tried - 1))
