"""All runs looked at again and again at little cost: what is over and has not changed is not read a second time."""

from __future__ import annotations

from pathlib import Path

from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunDir, RunInfo, State
from gputrain.engine.runs.run_marks import read_marks
from gputrain.tui.actions.run_list import Row

_FILES = ("status.json", "marks.json")
_Stamp = tuple[tuple[int, int] | None, ...]
"""Time and inode of each of `_FILES`: they are replaced whole, so another content has other ones."""


class RunListing:
    """The runs of this user. Not thread-safe."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[_Stamp, Row]] = {}

    def rows(self) -> list[Row]:
        """All runs as they are now, the newest first; rows that did not change are the same objects as before."""
        found = {}
        for run in run_directory.directories():
            # Taken before the files are read: what is written meanwhile is seen the next time.
            stamp = _stamp(run)
            before = self._known.get(run.directory)
            if before is None or before[0] != stamp or not _settled(before[1]):
                row = Row(RunInfo(run, run.status()), read_marks(run))
                before = (stamp, before[1] if before is not None and before[1] == row else row)
            found[run.directory] = before
        self._known = found
        return [row for _, row in found.values()]


def _settled(row: Row) -> bool:
    """Whether nothing but its own files can change the row. `State.DIED` is a guess from a lock."""
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
