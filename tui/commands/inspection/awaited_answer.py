"""Sends a command to a run, here or on another machine, and waits for the event that answers it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from gputrain.engine.events import AnyEvent
from gputrain.engine.events.commands import AnyCommand
from gputrain.engine.launching import launch
from gputrain.engine.launching.attachment import NotLiveError
from gputrain.engine.runs import remote_name, run_directory
from gputrain.tui.state.event_source import RunSource

Answer = TypeVar("Answer")


def attached(name: str) -> RunSource:
    """Attach to a run that is live, by its name or ``HOST:RUN``. Raises BadInput, NotLiveError and OSError."""
    remote = remote_name.parse(name)
    if remote is not None:
        from gputrain.engine.remote.reconnecting_attachment import attach  # imported here: most runs are local

        return attach(remote, outlined=True)
    run = run_directory.find(name)
    status = run.status()
    if status is None or status.state.over:
        raise NotLiveError(f"{run.id} is not running ({status.state if status else 'it never started'})")
    return launch.attach(run, outlined=True)


def answer(
    source: RunSource, command: AnyCommand, find: Callable[[AnyEvent], Answer | None], seconds: float | None
) -> Answer:
    """Send `command` and return the first event that `find` gives back; closes `source`.

    `seconds`: how long to wait; None: until the run ends. Raises OSError, NotLiveError if the run ended before.
    """
    try:
        source.send(command)
        due = None if seconds is None else time.monotonic() + seconds
        while True:
            for event in source.read():
                if (found := find(event)) is not None:
                    return found
            if source.ended or source.abandoned:
                raise NotLiveError(f"{source.run.id} ended before it answered")
            if due is not None and time.monotonic() > due:
                raise NotLiveError(f"{source.run.id}: no answer within {seconds:.0f} s")
    finally:
        source.close()
