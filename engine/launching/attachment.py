"""Reading a run from any process: its record from the first event, then live events from its supervisor's queue."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from gputrain.engine.events import AnyEvent, RunEnded, decode
from gputrain.engine.events.commands import AnyCommand, encode_command
from gputrain.engine.runs.event_log import RecordReader
from gputrain.engine.runs.run_directory import RunDir

if TYPE_CHECKING:
    from gputrain.engine.runs.event_channel import Client

_LIVENESS_SECONDS = 0.5


class NotLiveError(OSError):
    """The run has no supervisor: it has ended, or was killed."""


class Attachment:
    """Reads a run: all its events from the first, then live ones, each exactly once.

    Made by `attach`. Not thread-safe, except that `send` may be called beside `read`.
    """

    def __init__(self, run: RunDir, outlined: bool) -> None:
        self.run = run
        self.sparse_until = 0
        """Of a long record, events before this number may be left out; 0: none are."""
        self.ended = False
        """The newest event is `RunEnded`."""
        self.abandoned = False
        """The supervisor has ended without `RunEnded` and the record was read: no event will follow."""
        self.trouble = ""
        """Why there is no connection; always empty for a local run (see `remote.reconnecting_attachment`)."""
        self._outline: list[AnyEvent] | None = None if outlined else []
        """Events of the outline that were not returned yet; None: it was not read."""
        self._reader = RecordReader(run.events)
        self._cursor = 0
        self._client: Client | None = None
        self._history = True
        self._checked = 0.0
        self._live = False

    @property
    def caught_up(self) -> bool:
        """Whether all events recorded before `attach` were read."""
        return not self._history

    @property
    def live(self) -> bool:
        """Whether the run has a supervisor, checked at most half a second ago."""
        if time.monotonic() - self._checked > _LIVENESS_SECONDS:
            self._live, self._checked = self.run.is_live(), time.monotonic()
        return self._live

    def read(self, timeout: float = 0.5, limit: int = 5000) -> list[AnyEvent]:
        """The next events in order; waits up to `timeout` seconds for the first one.

        Reads the record to its end, then the supervisor's queue, and the record again if the queue fails or
        no longer has the next event. Raises OSError if the record can't be read.
        """
        if self._outline is None:
            self._read_outline()
        if self._outline:
            first, self._outline = self._outline[:limit], self._outline[limit:]
            return self._fresh(first)
        found = self._fresh(self._reader.poll(limit)) if self._history or self._client is None else []
        if found:
            return found
        self._history = False
        live = self.live
        if live and not self.ended and self._connected():
            # The run may have had no supervisor before, and was resumed.
            self.abandoned = False
            return self._from_queue(timeout, limit)
        found = self._from_record(timeout if live else 0.0, limit)
        if found and not live:
            # A supervisor may have started since the last check.
            self._checked = 0.0
        # A supervisor writes its last event before it releases the lock, so this read would have found it.
        self.abandoned = not (live or found or self.ended)
        return found

    def _read_outline(self) -> None:
        from gputrain.engine.runs.record_outline import outline  # not needed for the first screen

        self._outline = []
        if (found := outline(self.run.events)) is not None:
            self._outline, self.sparse_until = found.events, found.until
            self._reader = RecordReader(self.run.events, found.offset)

    def _connected(self) -> bool:
        if self._client is None:
            # Imports multiprocessing, so only after the record was read, and not for an ended run.
            from gputrain.engine.runs.event_channel import Client

            status = self.run.status()
            if status is None or not status.socket:
                return False
            try:
                self._client = Client(self.run, Path(status.socket))
            except (OSError, EOFError):
                return False
        return True

    def _from_queue(self, timeout: float, limit: int) -> list[AnyEvent]:
        assert self._client is not None
        try:
            cursor, lost, lines = self._client.get_many(self._cursor, limit, timeout)
        except (OSError, EOFError):
            # The supervisor has ended: the record has the rest.
            self._client, self._history, self._checked = None, True, 0.0
            return []
        if lost:
            self._history = True
            return []
        found = self._fresh([event for event in map(decode, lines) if event is not None])
        self._cursor = max(self._cursor, cursor)
        return found

    def _from_record(self, timeout: float, limit: int) -> list[AnyEvent]:
        deadline = time.monotonic() + timeout
        while not (found := self._fresh(self._reader.poll(limit))):
            if (left := deadline - time.monotonic()) <= 0:
                break
            time.sleep(min(0.1, left))
        return found

    def _fresh(self, found: list[AnyEvent]) -> list[AnyEvent]:
        fresh = [event for event in found if event.seq > self._cursor]
        if fresh:
            self._cursor = fresh[-1].seq
            self.ended = isinstance(fresh[-1], RunEnded)
        return fresh

    def send(self, command: AnyCommand) -> None:
        """Send a command to the supervisor, which answers with a `CommandTaken` event. Raises NotLiveError."""
        status = self.run.status()
        if status is None or status.state.over or not status.socket:
            raise NotLiveError(f"{self.run.id} is not running")
        from gputrain.engine.runs.event_channel import Client

        try:
            Client(self.run, Path(status.socket)).send(encode_command(command))
        except (OSError, EOFError) as error:
            raise NotLiveError(f"{self.run.id} cannot be reached: {error}") from error

    def close(self) -> None:
        """Detach; the run continues."""
        self._reader.close()
        self._client = None
