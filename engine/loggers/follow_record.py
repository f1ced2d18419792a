"""Following a record into a logger, from its first event to its last."""

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
"""How long a logger may take over what is left when the run is over; one that hangs then would stay for ever."""


class Logger(Protocol):
    """Another tool's files or service."""

    hint: str

    def take(self, fact: Fact) -> None:
        """Take one fact. Raises OSError."""

    def flush(self) -> None:
        """Write what was taken. Raises OSError."""

    def close(self, exit_code: int) -> None:
        """Finish; `exit_code` is 0 for a run that ended well."""


def follow(run: RunDir, sink: Logger, alive: Callable[[int], None]) -> int:
    """Hand all events of `run` to `sink` until nobody owns the run any more. Returns how many there were.

    `alive` is called with that number at least once a second while there is nothing to wait for but the run.
    Raises OSError if the record can't be read or the sink can't write.
    """
    facts, count, last = EventValues(), 0, None
    with RecordReader(run.events) as reader:
        live = True
        while True:
            found = reader.poll()
            for event in found:
                for fact in facts.of(event):
                    sink.take(fact)
            if found:
                sink.flush()
                count, last = count + len(found), found[-1]
            alive(count)
            if isinstance(last, RunEnded):
                faulthandler.dump_traceback_later(_LAST_SECONDS, exit=True)
            if found:
                continue
            # A supervisor writes its last word before it lets the run go: one more look after that has it.
            if not live:
                break
            live = run.is_live()
            if live:
                time.sleep(POLL_SECONDS)
    sink.close(_exit_code(last))
    faulthandler.cancel_dump_traceback_later()
    return count


def _exit_code(last: AnyEvent | None) -> int:
    good = isinstance(last, RunEnded) and last.outcome in (Outcome.FINISHED, Outcome.STOPPED)
    return 0 if good else 1
