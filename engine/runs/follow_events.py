"""Follows the record of a run from another process, until the run has no supervisor any more."""

from __future__ import annotations

import time
from collections.abc import Iterator

from gputrain.engine.events import AnyEvent
from gputrain.engine.runs.event_log import RecordReader
from gputrain.engine.runs.run_directory import RunDir

POLL_SECONDS = 1.0


def batches(run: RunDir, offset: int = 0) -> Iterator[list[AnyEvent]]:
    """The new events about once a second, from the byte `offset` of the record on; an empty list if there are none.

    Raises OSError if the record can't be read.
    """
    with RecordReader(run.events, offset) as reader:
        live = True
        while True:
            found = reader.poll()
            yield found
            if found:
                continue
            # A supervisor writes its last event before it releases the lock, so read once more after that.
            if not live:
                return
            live = run.is_live()
            if live:
                time.sleep(POLL_SECONDS)
