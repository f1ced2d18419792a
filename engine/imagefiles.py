"""What counts as an image file, and a quick count of a folder of class folders, for plans."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from gputrain.engine.budget import DataFacts

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")
"""What counts as an image: torchvision's list, and GIF (its first frame)."""
COUNT_SECONDS = 0.5
"""How long a plan may count; enough for some hundred thousand files on a local disk."""
_WEIGHED_EVERY = 50
"""One file in so many is asked for its size."""


class Late(Exception):  # noqa: N818 - not an error: the time is up
    pass


def count_images(folder: Path, train_split: str, val_split: str, seconds: float = COUNT_SECONDS) -> DataFacts | None:
    """Images below ``folder/split/<class>/…``, and the bytes of the training ones from a sample of them.

    None if they cannot be counted in `seconds`, or not at all; the run's own scan says then what is wrong.
    """
    deadline = time.monotonic() + seconds
    try:
        train, size = _count(folder / train_split, deadline)
        val, _ = _count(folder / val_split, deadline) if val_split else (0, None)
    except (OSError, Late):
        return None
    return DataFacts(train, val, size) if train else None


def _count(split: Path, deadline: float) -> tuple[int, int | None]:
    count = weighed = size = 0
    for entry in _images(split, deadline):
        if count % _WEIGHED_EVERY == 0:
            size, weighed = size + entry.stat().st_size, weighed + 1
        count += 1
    return count, round(size / weighed * count) if weighed else None


def _images(folder: Path, deadline: float, depth: int = 0) -> Iterator[os.DirEntry[str]]:
    """Images of class folders and of folders in them; names that begin with a dot are passed over, as in the scan."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if time.monotonic() > deadline:
                raise Late
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _images(Path(entry.path), deadline, depth + 1)
            elif depth and entry.name.lower().endswith(EXTENSIONS):
                yield entry
