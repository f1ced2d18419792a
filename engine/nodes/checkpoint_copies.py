"""Checkpoints on their way between the supervisor's run directory and nodes that do not share it.

The node of rank 0 sends each complete checkpoint, then the index. Before a start the supervisor sends what is missing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from gputrain.engine.checkpointing.checkpoint_index import INDEX, CheckpointEntry, read_index
from gputrain.engine.nodes.node_messages import PART_BYTES, Part

_SUFFIX = ".part"


def read_parts(folder: Path, file: str) -> Iterator[Part]:
    """A file as messages. Raises OSError."""
    with (folder / file).open("rb") as source:
        first, data = True, source.read(PART_BYTES)
        while True:
            following = source.read(PART_BYTES)
            yield Part(file=file, data=data, first=first, last=not following)
            if not following:
                return
            first, data = False, following


class CheckpointSender:
    """Finds checkpoints that are complete in a folder and were not sent."""

    def __init__(self, folder: Path) -> None:
        """What is there already counts as sent."""
        self._folder = folder
        self._sent = {entry.file: entry.sha256 for entry in read_index(folder)}
        self._index: tuple[CheckpointEntry, ...] = tuple(read_index(folder))
        self._parts: Iterator[Part] | None = None
        self._sending: CheckpointEntry | None = None

    def next_parts(self, *, final: bool = False) -> list[Part]:
        """The next messages; empty if everything was sent. `final`: several at once."""
        found: list[Part] = []
        while len(found) < (4 if final else 1):
            part = self._next()
            if part is None:
                break
            found.append(part)
        return found

    def _next(self) -> Part | None:
        if self._parts is not None:
            # A file that is deleted meanwhile was replaced by a newer checkpoint.
            with contextlib.suppress(OSError, StopIteration):
                return next(self._parts)
            if self._sending is not None:
                self._sent[self._sending.file] = self._sending.sha256
            self._parts = self._sending = None
        entries = tuple(read_index(self._folder))
        if entries == self._index:
            return None
        for entry in entries:
            if self._sent.get(entry.file) != entry.sha256:
                self._sending, self._parts = entry, read_parts(self._folder, entry.file)
                return self._next()
        self._index = entries
        return Part(file=INDEX, data=msgspec.json.encode(entries), first=True, last=True)


class CheckpointReceiver:
    """Writes checkpoints that come in parts; the index last, which drops those that it no longer names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: IO[bytes] | None = None
        self._received: set[str] = set()

    def missing(self, index: bytes) -> tuple[str, ...]:
        """The files of an index that are not here with the same content, by this folder's own index."""
        here = {(entry.file, entry.sha256) for entry in read_index(self._folder)}
        wanted = msgspec.json.decode(index, type=list[CheckpointEntry])
        return tuple(
            entry.file
            for entry in wanted
            if (entry.file, entry.sha256) not in here or not (self._folder / entry.file).exists()
        )

    def take(self, part: Part) -> None:
        """Write one part. Raises OSError."""
        name = Path(part.file).name
        target = self._folder / (name + _SUFFIX)
        if part.first:
            if self._open is not None:
                self._open.close()
            self._open = target.open("wb")
        if self._open is None:
            return
        self._open.write(part.data)
        if not part.last:
            return
        self._open.flush()
        os.fsync(self._open.fileno())
        self._open.close()
        self._open = None
        before = {entry.file for entry in read_index(self._folder)} | self._received
        self._received.add(name)
        target.replace(self._folder / name)
        if name == INDEX:
            named = {entry.file for entry in read_index(self._folder)}
            self._delete(before - named - {INDEX})
            self._received &= named

    def _delete(self, files: set[str]) -> None:
        for file in files:
            with contextlib.suppress(OSError):
                (self._folder / file).unlink()
