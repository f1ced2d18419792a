"""CSV log of hardware samples: ``resources.csv`` of a run, and the monitor's log file."""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import HardwareSample
from gputrain.engine.monitor.sample_rows import Value, flat_row

_LONGEST_HEADER = 1 << 18


class Columns:
    """The columns of the log. They never move; new ones (of a GPU that answers late) are appended."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = list(names)

    def grow(self, row: Mapping[str, Value]) -> int:
        """Append the columns of `row` that are new; returns their number."""
        known = set(self.names)
        new = [name for name in row if name not in known]
        self.names += new
        return len(new)

    @property
    def header(self) -> str:
        """The header line."""
        return csv_line(self.names)

    def line(self, row: Mapping[str, Value]) -> str:
        """The CSV line of a row; missing values are empty cells."""
        return csv_line(["" if row.get(name) is None else f"{row[name]}" for name in self.names])


def csv_line(cells: Sequence[str]) -> str:
    """The cells as a CSV line, with the line break."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


class CsvLog:
    """Appends samples to a CSV file, each with one write: after a crash at most the last row is incomplete."""

    def __init__(self, path: Path) -> None:
        """Raises BadInput if `path` cannot be written, or contains something else."""
        self._path = path
        try:
            self._handle = _open(path)
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror}; choose a file that can be written") from None
        try:
            names, self._torn = _existing(self._handle, path)
        except BadInput:
            os.close(self._handle)
            raise
        self._columns = Columns(names)

    def append(self, sample: HardwareSample) -> None:
        """Write one row; adds new columns to the whole file first. Raises OSError."""
        row = flat_row(sample)
        lines = "\n" if self._torn else ""
        empty, new = not self._columns.names, self._columns.grow(row)
        if new:
            lines = "" if not empty and self._widen(new) else lines + self._columns.header
        self._torn = False
        os.write(self._handle, (lines + self._columns.line(row)).encode())

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _widen(self, new: int) -> bool:
        """Rewrite the file with the longer header and `new` empty cells in each row; False if that is not possible.

        It is not possible for a pipe or in a read-only folder: the new header is then written between the rows.
        """
        if not stat.S_ISREG(os.fstat(self._handle).st_mode):
            return False
        path = Path(os.path.realpath(self._path))
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with aside.open("xb") as wider, path.open("rb") as old:
                os.fchmod(wider.fileno(), os.fstat(self._handle).st_mode & 0o777)
                old.readline()
                wider.write(self._columns.header.encode())
                for line in old:  # no cell holds a line break
                    wider.write(line.rstrip(b"\n") + b"," * new + b"\n" if line != b"\n" else line)
            handle = _open(aside)
            aside.replace(path)
        except OSError:
            aside.unlink(missing_ok=True)
            return False
        os.close(self._handle)
        self._handle = handle
        return True


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _existing(handle: int, path: Path) -> tuple[list[str], bool]:
    """Columns of an existing file, and whether its last row is incomplete."""
    size = os.fstat(handle).st_size
    if size == 0:
        return [], False
    first = os.pread(handle, _LONGEST_HEADER, 0).split(b"\n", 1)[0].decode("utf-8", "replace")
    columns = next(csv.reader([first]), [])
    if columns[:1] != ["time_utc"]:
        raise BadInput(f"{path}: is not a log of samples (begins with '{plain(first, 40)}'); choose another file")
    return columns, os.pread(handle, 1, size - 1) != b"\n"
