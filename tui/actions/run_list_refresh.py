"""Lists all runs repeatedly at low cost: files of ended runs are read again only if they changed."""

from __future__ import annotations

from pathlib import Path

from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunDir, RunInfo, State
from gputrain.engine.runs.run_marks import read_marks
from gputrain.tui.actions.run_list import Row

_FILES = ("status.json", "marks.json")
_Stamp = tuple[tuple[int, int] | None, ...]
"""Modification time and inode of each of `_FILES`. Files are replaced atomically, so each change changes it."""


class RunListing:
    """The runs of this user. Not thread-safe."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[_Stamp, Row]] = {}

    def rows(self) -> list[Row]:
        """All runs, newest first. Rows that did not change are the same objects as in the last call."""
        found = {}
        for run in run_directory.directories():
            # Taken before the files are read: a change during the read is noticed at the next call.
            stamp = _stamp(run)
            before = self._known.get(run.directory)
            if before is None or before[0] != stamp or not _settled(before[1]):
                row = Row(RunInfo(run, run.status()), read_marks(run))
                before = (stamp, before[1] if before is not None and before[1] == row else row)
            found[run.directory] = before
        self._known = found
        return [row for _, row in found.values()]


def _settled(row: Row) -> bool:
    """Whether only its own files can change the row. `State.DIED` is not settled: it is derived from a lock."""
    status = row.info.status
    return status is not None and status.state.over and status.state is not State.DIED


def _stamp(run: RunDir) -> _Stamp:
    found: list[tuple[int, int] | None] = []
    for name in _FILES:
        try:
            what = (run.directory / name).stat()
        except OSError:
            found.append(None)
        else:
            found.append((what.st_mtime_ns, what.st_ino))
    return tuple(found)
