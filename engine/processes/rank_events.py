"""Events of rank 1 and up at rank 0: what is passed on, what is said once, and which rank failed."""

from __future__ import annotations

import threading
import time
from collections import deque

import msgspec

from gputrain.engine import events
from gputrain.engine.events import AnyEvent, NodeSample, Notice, Outcome, RankSteps, RunEnded
from gputrain.engine.processes.event_reporter import EventReporter

RANK_LOST = "RankLost"
"""Start of the error of a rank that lost the connection to another one."""
DUPLICATE_SECONDS = 1.0
"""A notice of another rank is dropped if rank 0 sends the same one within this time."""


class RankEvents:
    """Takes the events of all other ranks, on one thread."""

    def __init__(self, reporter: EventReporter) -> None:
        self._reporter = reporter
        self._texts: set[str] = set()
        self._waiting: deque[tuple[float, int, Notice]] = deque()
        """Time, rank and notice of notices that are held back for `DUPLICATE_SECONDS`."""
        self._failed: RunEnded | None = None
        self._known = threading.Event()
        self.ended: set[int] = set()
        """Ranks that have reported their end."""

    @property
    def waiting(self) -> bool:
        """Whether notices are held back: call `flush` soon."""
        return bool(self._waiting)

    @property
    def failed(self) -> RunEnded | None:
        """Why the first rank failed that did not fail for another one's sake."""
        return self._failed

    def take(self, rank: int, event: AnyEvent) -> None:
        """An event of `rank` arrived."""
        if isinstance(event, RunEnded):
            self.ended.add(rank)
            # A rank that lost another one did not cause the failure.
            if event.outcome is Outcome.FAILED and not event.error.startswith(RANK_LOST):
                self.fail(msgspec.structs.replace(event, reason=f"rank {rank}: {event.reason}"))
        elif isinstance(event, Notice) and event.text not in self._texts:
            # The same notice of several ranks is sent once.
            self._texts.add(event.text)
            self._waiting.append((time.monotonic(), rank, event))
        elif isinstance(event, RankSteps | NodeSample):
            self._reporter.send(event)

    def take_encoded(self, rank: int, raw: bytes) -> None:
        """An encoded event of `rank` arrived."""
        self.flush()
        if (event := events.decode(raw)) is not None:
            self.take(rank, event)

    def flush(self) -> None:
        """Send held-back notices that rank 0 has not sent itself."""
        while self._waiting and self._waiting[0][0] < time.monotonic() - DUPLICATE_SECONDS:
            _, rank, notice = self._waiting.popleft()
            if notice.text not in self._reporter.newest:
                self._reporter.notice(notice.level, f"rank {rank}: {notice.text}")

    def fail(self, ended: RunEnded) -> bool:
        """The run ends for this reason, unless there was one before. Returns whether it was the first."""
        if self._failed is not None:
            return False
        self._failed = ended
        self._known.set()
        return True

    def cause_of(self, ended: RunEnded, seconds: float) -> RunEnded:
        """The run's end: if rank 0 lost another rank (`RANK_LOST`), why that one ended, else `ended`.

        Waits so many `seconds` until it is known.
        """
        if not ended.error.startswith(RANK_LOST):
            return ended
        self._known.wait(seconds)
        return ended if self._failed is None else msgspec.structs.replace(self._failed, step=ended.step)
