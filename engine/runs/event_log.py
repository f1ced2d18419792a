"""The event log (record) of a run, ``events.jsonl``: one writer numbers the events, any number of readers follow.

Readers ignore a line that a crash or a full disk cut off; the next write begins a new line.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from gputrain.engine import events
from gputrain.engine.events import AnyEvent
from gputrain.engine.runs.milestones import Milestones

_TAIL_BYTES = 1 << 16
_READ_BYTES = 1 << 20
MAX_LINE_BYTES = 4 << 20
"""Readers skip longer lines without keeping them in memory: no event is that long."""
_BACKLOG = 10_000


class RecordWriter:
    """Appends events to the record. Only the holder of the run's lock may create one."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        tail = _tail(self._file)
        self._torn = bool(tail) and not tail.endswith(b"\n")
        self.seq = _last_seq(path, tail)
        self._milestones = Milestones(path, fresh=not tail)
        self._backlog: deque[bytes] = deque(maxlen=_BACKLOG)
        self.lost = 0
        """Number of events that were lost because the disk was full for too long."""

    def append(self, event: AnyEvent) -> tuple[AnyEvent, bytes]:
        """Add number and time to `event` and write it; returns the event as recorded, and its line.

        A full disk raises nothing: up to 10,000 lines wait in memory for the next call.
        """
        self.seq += 1
        event = events.stamp(event, self.seq, time.time(), time.monotonic())
        line = events.encode(event)
        if len(self._backlog) == _BACKLOG:
            self.lost += 1
        self._backlog.append(line)
        self.flush()
        self._milestones.note(event, line)
        return event, line

    def flush(self) -> bool:
        """Write the waiting lines. Returns False if the disk refuses."""
        while self._backlog:
            line = self._backlog[0] + b"\n"
            if self._torn:
                line = b"\n" + line
            try:
                written = os.write(self._file, line)
            except OSError:
                return False
            if written < len(line):
                self._torn = True
                return False
            self._torn = False
            self._backlog.popleft()
        return True

    @property
    def waiting(self) -> int:
        """Number of lines that are not on disk yet."""
        return len(self._backlog)

    def close(self) -> None:
        """Write the waiting lines and fsync."""
        self.flush()
        os.fsync(self._file)
        os.close(self._file)
        self._milestones.close()


def _tail(file: int) -> bytes:
    size = os.fstat(file).st_size
    start = max(0, size - _TAIL_BYTES)
    return os.pread(file, size - start, start)


def _last_seq(path: Path, tail: bytes) -> int:
    if not tail:
        return 0
    for line in reversed(tail.split(b"\n")):
        event = events.decode(line)
        if event is not None:
            return event.seq
    # No whole event in the tail: long lines, or a damaged file.
    return max((event.seq for event in read(path)), default=0)


class LineSplitter:
    """Splits the bytes of a record into events; `offset` is the position of the next byte in the record."""

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset
        self._rest = b""
        self._skipping = False

    def split(self, chunk: bytes) -> Iterator[tuple[int, AnyEvent]]:
        """The events whose lines `chunk` completes, each with the offset of its line. Consume the whole iterator."""
        begin = self.offset - len(self._rest)
        self.offset += len(chunk)
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._rest = rest
        for line in lines:
            event = None if self._skipping or not line else events.decode(line)
            self._skipping = False
            if event is not None:
                yield begin, event
            begin += len(line) + 1
        if len(rest) > MAX_LINE_BYTES:
            self._rest, self._skipping = b"", True


class RecordReader:
    """Follows a growing record: `poll` returns the events since the last call."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        """`offset`: position of the first byte to read, the start of a line."""
        self._path = path
        self._file: int | None = None
        self._lines = LineSplitter(offset)

    def poll(self, limit: int = 5000) -> list[AnyEvent]:
        """Up to about `limit` new events, in order; empty at the end of the file, or while there is none.

        Raises OSError if the file exists and cannot be read.
        """
        if self._file is None:
            try:
                self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return []
            os.lseek(self._file, self._lines.offset, os.SEEK_SET)
        found: list[AnyEvent] = []
        while len(found) < limit:
            chunk = os.read(self._file, min(_READ_BYTES, 512 * limit))
            if not chunk:
                break
            found.extend(event for _, event in self._lines.split(chunk))
        return found

    def close(self) -> None:
        """Release the file; idempotent."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read(path: Path) -> Iterator[AnyEvent]:
    """All events of a record up to its current end. Raises OSError."""
    with RecordReader(path) as reader:
        while found := reader.poll():
            yield from found
