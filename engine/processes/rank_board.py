"""Board of the ranks of one machine: a small file in which each rank keeps where it is, for the verdict on a hang.

A rank writes its place in less than a microsecond, without a lock: into memory that it alone writes. Readers may see a
place with the time of the one before, which does not matter to a hang.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path

NAME = "ranks.board"
"""Name of the file in the run directory."""
STACKS = "ranks.stacks"
"""Prefix of the files into which each rank writes the stacks of its threads when asked."""
EXCHANGE = "the exchange with the other ranks"
PLACES = ("its start", "the wait for data", "prepare", "forward", "backward", "update", EXCHANGE, "other work")
"""What a rank may be doing."""
_RECORD = struct.Struct("<qqqd")
_SIZE = 64


@dataclass(frozen=True, slots=True)
class RankPlace:
    """Where a rank is."""

    rank: int
    pid: int
    step: int
    """Steps that it has done."""
    place: str
    """One of `PLACES`."""
    since: float
    """Seconds of the monotonic clock at which it came there."""


class RankBoard:
    """One rank's line of the board."""

    def __init__(self, directory: Path, rank: int, count: int) -> None:
        """Raises OSError."""
        handle = os.open(directory / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(handle).st_size < count * _SIZE:
                os.ftruncate(handle, count * _SIZE)
            self._memory = mmap.mmap(handle, count * _SIZE)
        finally:
            os.close(handle)
        self._offset, self._pid = rank * _SIZE, os.getpid()
        self.step = 0
        """Steps done."""
        self.enter(PLACES[0])

    def enter(self, place: str) -> None:
        """The rank comes to `place`, one of `PLACES`."""
        _RECORD.pack_into(self._memory, self._offset, self._pid, self.step, PLACES.index(place), time.monotonic())


def read_board(directory: Path) -> list[RankPlace]:
    """The places of the ranks of a run, by rank; empty without several ranks."""
    with contextlib.suppress(OSError):
        data = (directory / NAME).read_bytes()
        found = [_RECORD.unpack_from(data, offset) for offset in range(0, len(data) - _RECORD.size, _SIZE)]
        return [
            RankPlace(rank, pid, step, PLACES[place], since)
            for rank, (pid, step, place, since) in enumerate(found)
            if pid and 0 <= place < len(PLACES)
        ]
    return []


def stacks_file(directory: Path, rank: int) -> Path:
    """Where a rank writes the stacks of its threads."""
    return directory / f"{STACKS}.{rank}.txt"
