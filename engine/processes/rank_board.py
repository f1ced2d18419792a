"""Where each rank is, for the verdict on a hang: a board of the ranks of one machine, and reports of any ranks.

The board is a small file in which each rank keeps its place. Ranks that a launcher started send reports to rank 0
instead, which writes them into a file while it waits.

A rank writes its place in less than a microsecond, without a lock: into memory that it alone writes. Readers may see a
place with the time of the one before, which does not matter to a hang.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gputrain.engine.common.files import write_atomic

NAME = "ranks.board"
"""Name of the file in the run directory."""
STACKS = "ranks.stacks"
"""Prefix of the files into which each rank writes the stacks of its threads when asked."""
REPORTS = "ranks.reports.json"
"""File with the reports of ranks that a launcher started, in the run directory of rank 0."""
STILL_SECONDS = 3.0
"""A rank that has been in one place for longer tells its line of code; rank 0 then writes `REPORTS`."""
_FRESH_SECONDS = 10.0
"""Age up to which the file counts: later it is of another hang."""
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


class RankReport(msgspec.Struct, frozen=True):
    """Where a rank is."""

    rank: int
    host: str
    step: int
    """Steps that it has done."""
    place: str
    """One of `PLACES`."""
    seconds: float
    """How long it has been there."""
    line: str = ""
    """The line of its own code in which its main thread is."""
    collectives: int = -1
    """Number of its newest collective, by torch's flight recorder; all ranks count alike. -1: not recorded."""
    collective: str = ""
    """Name of that collective."""


def write_reports(directory: Path, reports: Sequence[RankReport]) -> None:
    """Replace the file; a full disk is none of the training's business."""
    with contextlib.suppress(OSError):
        write_atomic(directory / REPORTS, msgspec.json.encode(list(reports)))


def read_reports(directory: Path) -> list[RankReport]:
    """The reports of a hang that goes on; empty without one."""
    path = directory / REPORTS
    with contextlib.suppress(OSError, msgspec.DecodeError):
        if time.time() - path.stat().st_mtime < _FRESH_SECONDS:
            return msgspec.json.decode(path.read_bytes(), type=list[RankReport])
    return []
