"""When a trainer that was asked to stop at once is killed."""

from __future__ import annotations

STOP_NOW_SECONDS = 10.0
"""How long a trainer may take to exit after "stop now" before it gets SIGKILL."""


class KillTimer:
    """Counts from the first "stop now"; later ones do not put it off."""

    def __init__(self) -> None:
        self._deadline = float("inf")

    def start(self, now: float) -> None:
        """The trainer was asked to stop at `now` (monotonic seconds)."""
        self._deadline = min(self._deadline, now + STOP_NOW_SECONDS)

    def is_due(self, now: float) -> bool:
        """Whether to kill it now; true once."""
        if now <= self._deadline:
            return False
        self._deadline = float("inf")
        return True
