"""A quick count of the images in class folders, for plans."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from gputrain.engine.datasets import image_files
from gputrain.engine.datasets.skipped_files import FoldersRead, SkippedFiles
from gputrain.engine.estimates.host_memory import DataFacts

COUNT_SECONDS = 0.5
"""Time limit of a plan's count; enough for some hundred thousand files on a local disk."""
_WEIGHED_EVERY = 50
"""The size of one in so many files is read."""
_LOOKED_AT = 16
"""Files whose headers are read at most, for the images' sizes."""


class TimeLimitReached(Exception):  # noqa: N818 - not an error: the time is up
    pass


class _Count:
    """The count of one split."""

    def __init__(self, home: Path, split: str, deadline: float, folders: FoldersRead) -> None:
        self._split = split
        self._deadline = deadline
        self.skipped = SkippedFiles(home, folders)
        self.images = 0
        self.classes: set[str] = set()
        self.some: list[os.DirEntry[str]] = []
        """One in _WEIGHED_EVERY of the images."""
        if split:
            above = image_files.ancestors(home / split)
            for entry in self._images(home / split, "", above):
                if self.images % _WEIGHED_EVERY == 0:
                    self.some.append(entry)
                self.images += 1

    def _images(self, folder: Path, owner: str, above: frozenset[image_files.Identity]) -> Iterator[os.DirEntry[str]]:
        """Images of class folders and their sub-folders, without what the scan skips; `owner` is the class."""
        with os.scandir(folder) as entries:
            for entry in entries:
                if time.monotonic() > self._deadline:
                    raise TimeLimitReached
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    yield from self._folder(entry, owner, above)
                elif owner and entry.is_file() and image_files.is_image(entry.path):
                    yield entry
                elif owner:
                    self.skipped.add_file(entry.path)

    def _folder(
        self, entry: os.DirEntry[str], owner: str, above: frozenset[image_files.Identity]
    ) -> Iterator[os.DirEntry[str]]:
        if image_files.is_ignored(entry.name):
            self.skipped.add(f"{entry.name} folder", entry.path)
        elif (identity := image_files.identity_of(entry.path)) in above:
            self.skipped.add(image_files.LINK_TO_PARENT, entry.path)
        else:
            if not owner:
                owner = f"{self._split}/{entry.name}"
                self.classes.add(entry.name)
            self.skipped.read(identity, entry.path, owner)
            yield from self._images(Path(entry.path), owner, above | {identity})


def count_images(folder: Path, train_split: str, val_split: str, seconds: float = COUNT_SECONDS) -> DataFacts | None:
    """Images below ``folder/split/<class>/…``, and bytes and sides of the training images from a sample of them.

    None if they cannot be counted, or not in `seconds`; the run's scan then names the fault.
    """
    deadline = time.monotonic() + seconds
    folders = FoldersRead()
    try:
        train = _Count(folder, train_split, deadline, folders)
        val = _Count(folder, val_split, deadline, folders)
        if not train.images:
            return None
        size = round(sum(entry.stat().st_size for entry in train.some) / len(train.some) * train.images)
        # Spread over the classes, whose images may come from different places.
        looked_at = train.some[:: -(-len(train.some) // _LOOKED_AT)]
        side = _short_side([entry.path for entry in looked_at], deadline)
    except (OSError, TimeLimitReached):
        return None
    train.skipped.note_classes(train_split, train.classes)
    skipped = train.skipped.result().merged(val.skipped.result())
    return DataFacts(
        train.images,
        val.images,
        size,
        side,
        skipped=skipped.counts,
        skipped_texts=tuple(skipped.texts()),
        folder_warnings=skipped.warnings(),
    )


def _short_side(paths: Iterable[str], deadline: float) -> float | None:
    """Mean short side in pixels, of the images that can be opened until `deadline`; None if there are none."""
    from PIL import Image  # not for every command that counts

    sides = []
    for path in paths:
        if time.monotonic() > deadline:
            break
        # The run reports files that are no images.
        with contextlib.suppress(Exception), Image.open(path) as image:
            sides.append(min(image.size))
    return sum(sides) / len(sides) if sides else None
