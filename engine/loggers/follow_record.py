"""Feeds the record of a run to a logger, from its first event to its last."""

from __future__ import annotations

import faulthandler
import time
from collections.abc import Callable
from typing import Protocol

from gputrain.engine.events import AnyEvent, Outcome, RunEnded
from gputrain.engine.loggers.logged_values import EventValues, Fact
from gputrain.engine.runs.event_log import RecordReader
from gputrain.engine.runs.run_directory import RunDir

POLL_SECONDS = 1.0
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
    with RecordReader(run.events) as reader:
        live = True
        while True:
            found = reader.poll()
            for event in found:
                for fact in facts.of(event):
                    logger.take(fact)
            if found:
                logger.flush()
                count, last = count + len(found), found[-1]
            on_progress(count)
            if isinstance(last, RunEnded):
                faulthandler.dump_traceback_later(_LAST_SECONDS, exit=True)
            if found:
                continue
            # A supervisor writes its last event before it releases the lock, so read once more after that.
            if not live:
                break
            live = run.is_live()
            if live:
                time.sleep(POLL_SECONDS)
    logger.close(_exit_code(last))
    faulthandler.cancel_dump_traceback_later()
    return count


def _exit_code(last: AnyEvent | None) -> int:
    good = isinstance(last, RunEnded) and last.outcome in (Outcome.FINISHED, Outcome.STOPPED)
    return 0 if good else 1
