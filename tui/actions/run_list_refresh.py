"""Lists all runs repeatedly at low cost: files of ended runs are read again only if they changed."""

from __future__ import annotations

from pathlib import Path

from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunDir, RunInfo, State
from gputrain.engine.runs.run_labels import read_marks
from gputrain.engine.slurm import queue_state
from gputrain.engine.slurm.job_file import SlurmJob, read_job
from gputrain.engine.slurm.queue_watch import QueueWatch
from gputrain.tui.actions.run_list import Row

_FILES = ("status.json", "marks.json", "slurm.json")
_Stamp = tuple[tuple[int, int] | None, ...]
"""Modification time and inode of each of `_FILES`. Files are replaced atomically, so each change changes it."""


class RunListing:
    """The runs of this user. Not thread-safe."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[_Stamp, Row]] = {}
        self._jobs: dict[Path, SlurmJob] = {}
        self._shown: dict[Path, Row] = {}
        self._queue = QueueWatch()

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
                if (job := read_job(run) if stamp[-1] is not None else None) is not None:
                    self._jobs[run.directory] = job
            found[run.directory] = before
        self._known = found
        return self._with_queue([row for _, row in found.values()])

    def _with_queue(self, rows: list[Row]) -> list[Row]:
        """`rows` with what Slurm said last of their jobs; it is asked on a thread."""
        if not self._jobs:
            return rows
        infos = queue_state.with_queue(
            (row.info for row in rows), self._queue.states, lambda run: self._jobs.get(run.directory)
        )
        shown = {}
        for row, info in zip(rows, infos, strict=True):
            now = row if info is row.info else Row(info, row.marks)
            before = self._shown.get(info.run.directory)
            shown[info.run.directory] = before if before == now else now
        self._shown = shown
        return list(shown.values())


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
