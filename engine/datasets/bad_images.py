"""The images of a run that could not be read: how many are too many, and the list that is kept of them."""

from __future__ import annotations

import contextlib
import csv
from pathlib import Path

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import LoaderStats
from gputrain.engine.processes.event_reporter import EventReporter

LIST = "bad_images.csv"
"""File in the run directory: split, path and reason of each; not there as long as there is none."""
_HEADER = ("split", "path", "reason")
_NAMED = 3


def bad_image_limit(max_bad_images: float, images: int) -> int:
    """How many of `images` may be bad under the setting: a number of them, or below 1 a share."""
    return int(max_bad_images * images) if max_bad_images < 1 else int(max_bad_images)


class BadImages:
    """The list of a run's bad images, in its directory."""

    def __init__(self, directory: Path, reporter: EventReporter) -> None:
        self._path = directory / LIST
        self._reporter = reporter
        self._broken = False

    def add(self, split: str, found: list[tuple[str, str]]) -> None:
        """List the path and reason of images that were met for the first time."""
        try:
            # Several ranks may begin it at once.
            with contextlib.suppress(FileExistsError), self._path.open("x", encoding="utf-8", newline="") as file:
                csv.writer(file).writerow(_HEADER)
            with self._path.open("a", encoding="utf-8", newline="") as file:
                rows = csv.writer(file)
                rows.writerows((split, plain(path), why) for path, why in found)
        except OSError as error:
            # A list that can't be kept is no reason to end a training.
            if not self._broken:
                self._broken = True
                self._reporter.notice("warning", f"{LIST} cannot be written: {error.strerror or error}")

    def report(self, stats: LoaderStats, split: str) -> None:
        """Say how many new ones `stats` has, and which; and how many were damaged in the cache alone."""
        if stats.cache_repaired:
            text = f"{stats.cache_repaired} {split} images were damaged in the cache and were made again"
            self._reporter.notice("warning", text)
        if not stats.bad_images:
            return
        named = "; ".join(stats.bad_examples[:_NAMED])
        more = stats.bad_images - min(stats.bad_images, _NAMED)
        text = f"{stats.bad_images} unreadable {split} images were replaced by others: {named}"
        self._reporter.notice("warning", text + (f" and {more} more" if more else "") + f"; all are in {LIST}")
