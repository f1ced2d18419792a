"""Bad images of a run: the limit of unreadable files, their warnings, and the list in the run directory."""

from __future__ import annotations

import contextlib
import csv
from pathlib import Path

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import LoaderStats
from gputrain.engine.processes.event_reporter import EventReporter

LIST = "bad_images.csv"
"""File in the run directory with split, path and reason of each bad image; absent while there are none."""
_HEADER = ("split", "path", "reason")
_NAMED = 3


def bad_image_limit(max_bad_images: float, images: int) -> int:
    """How many of `images` may be bad: `max_bad_images` is a number, or a share if it is below 1."""
    return int(max_bad_images * images) if max_bad_images < 1 else int(max_bad_images)


class BadImages:
    """The list of a run's bad images, in its directory."""

    def __init__(self, directory: Path, reporter: EventReporter) -> None:
        self._path = directory / LIST
        self._reporter = reporter
        self._broken = False

    def add(self, split: str, found: list[tuple[str, str]]) -> None:
        """Append path and reason of newly found bad images."""
        try:
            # Several ranks may create it at once.
            with contextlib.suppress(FileExistsError), self._path.open("x", encoding="utf-8", newline="") as file:
                csv.writer(file).writerow(_HEADER)
            with self._path.open("a", encoding="utf-8", newline="") as file:
                rows = csv.writer(file)
                rows.writerows((split, plain(path), why) for path, why in found)
        except OSError as error:
            # Training goes on without the list.
            if not self._broken:
                self._broken = True
                self._reporter.notice("warning", f"{LIST} cannot be written: {error.strerror or error}")

    def report(self, stats: LoaderStats, split: str) -> None:
        """Warn of the new bad images in `stats`, and of images that were damaged in the cache."""
        if stats.cache_repaired:
            text = f"{stats.cache_repaired} {split} images were damaged in the cache and were encoded again"
            self._reporter.notice("warning", text)
        if not stats.bad_images:
            return
        named = "; ".join(stats.bad_examples[:_NAMED])
        more = stats.bad_images - min(stats.bad_images, _NAMED)
        text = f"{stats.bad_images} unreadable {split} images were replaced by others: {named}"
        self._reporter.notice("warning", text + (f" and {more} more" if more else "") + f"; all are in {LIST}")
