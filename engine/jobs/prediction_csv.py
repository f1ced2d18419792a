"""CSV file of predictions; it appears under its name only when it is complete. Without torch."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain

CLASS_COLUMNS = ("class", "probability")


def class_cells(name: str, probability: float) -> list[str]:
    """The cells for `CLASS_COLUMNS` of one sample."""
    return [name, f"{probability:.6f}"]


class PredictionFile:
    """Writes a row for each sample; without a path it writes nothing."""

    def __init__(self, path: Path | None, columns: Sequence[str]) -> None:
        """Raises BadInput where it cannot be written."""
        self._path = path
        if path is not None:
            try:
                handle, name_aside = tempfile.mkstemp(prefix=".predictions-", dir=path.absolute().parent)
            except OSError as error:
                raise BadInput(f"{plain(str(path), 300)}: cannot be written: {error.strerror}") from None
            self._aside = Path(name_aside)
            # File names may be any bytes.
            self._file = os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="")
            self._rows = csv.writer(self._file)
            self._rows.writerow(("sample", *columns))

    def add(self, name: str, cells: Sequence[str]) -> None:
        """Write the row of a sample."""
        if self._path is not None:
            self._rows.writerow((name, *cells))

    def finish(self) -> None:
        """Rename the complete file to its name. Raises BadInput where it cannot be written."""
        if self._path is not None:
            try:
                self._file.close()
                self._aside.chmod(0o644)
                self._aside.replace(self._path)
            except OSError as error:
                raise BadInput(f"{plain(str(self._path), 300)}: cannot be written: {error.strerror}") from None

    def discard(self) -> None:
        """Delete the incomplete file."""
        if self._path is not None:
            self._file.close()
            self._aside.unlink(missing_ok=True)
