"""Feeds the record of a run to a logger, from its first event to its last."""

from __future__ import annotations

import faulthandler
from collections.abc import Callable
from typing import Protocol

from gputrain.engine.events import AnyEvent, Outcome, RunEnded
from gputrain.engine.loggers.logged_values import EventValues, Fact
from gputrain.engine.runs import follow_events
from gputrain.engine.runs.run_directory import RunDir

_LAST_SECONDS = 600
"""How long a logger may take for the rest after the run has ended; then its process exits."""


class Logger(Protocol):
    """Writes to another tool's files or service."""

    hint: str

    def take(self, fact: Fact) -> None:
        """Log one fact. Raises OSError."""

    def flush(self) -> None:
        """Write buffered facts. Raises OSError."""

    def close(self, exit_code: int) -> None:
        """Finish; `exit_code`: 0 for a finished or stopped run, else 1."""


def follow(run: RunDir, logger: Logger, on_progress: Callable[[int], None]) -> int:
    """Log all events of `run` until it has no supervisor any more. Returns their number.

    Calls `on_progress` with the number so far, about once a second while the run is live. Raises OSError if the
    record can't be read or the logger can't write.
    """
    facts, count, last = EventValues(), 0, None
    for found in follow_events.batches(run):
        for event in found:
            for fact in facts.of(event):
                logger.take(fact)
        if found:
            logger.flush()
            count, last = count + len(found), found[-1]
        on_progress(count)
        if isinstance(last, RunEnded):
            faulthandler.dump_traceback_later(_LAST_SECONDS, exit=True)
    logger.close(_exit_code(last))
    faulthandler.cancel_dump_traceback_later()
    return count


def _exit_code(last: AnyEvent | None) -> int:
    good = isinstance(last, RunEnded) and last.outcome in (Outcome.FINISHED, Outcome.STOPPED)
    return 0 if good else 1
