"""What counts as an image file, and a quick look at a folder of class folders, for plans."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from gputrain.engine.estimates.host_memory import DataFacts

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")
"""What counts as an image: torchvision's list, and GIF (its first frame)."""
COUNT_SECONDS = 0.5
"""How long a plan may count; enough for some hundred thousand files on a local disk."""
_WEIGHED_EVERY = 50
"""One file in so many is asked for its size."""
_LOOKED_AT = 16
"""Files whose headers are read at most, for the size of their images."""


class TimeLimitReached(Exception):  # noqa: N818 - not an error: the time is up
    pass


def count_images(folder: Path, train_split: str, val_split: str, seconds: float = COUNT_SECONDS) -> DataFacts | None:
    """Images below ``folder/split/<class>/…``, and the bytes and sides of the training ones from a sample of them.

    None if they cannot be counted in `seconds`, or not at all; the run's own scan says then what is wrong.
    """
    deadline = time.monotonic() + seconds
    try:
        train, weighed = _count(folder / train_split, deadline)
        val, _ = _count(folder / val_split, deadline) if val_split else (0, [])
        if not train:
            return None
        size = round(sum(entry.stat().st_size for entry in weighed) / len(weighed) * train)
        # Spread over the classes, whose images may come from different places.
        looked_at = weighed[:: -(-len(weighed) // _LOOKED_AT)]
        return DataFacts(train, val, size, _short_side([entry.path for entry in looked_at], deadline))
    except (OSError, TimeLimitReached):
        return None


def _short_side(paths: Iterable[str], deadline: float) -> float | None:
    """Pixels of the images' short sides on average, of those that can be read until `deadline`; None: of none."""
    from PIL import Image  # not for every command that counts

    sides = []
    for path in paths:
        if time.monotonic() > deadline:
            break
        # What is no image is the run's to tell.
        with contextlib.suppress(Exception), Image.open(path) as image:
            sides.append(min(image.size))
    return sum(sides) / len(sides) if sides else None


def _count(split: Path, deadline: float) -> tuple[int, list[os.DirEntry[str]]]:
    """How many there are, and some of them."""
    count, some = 0, []
    for entry in _images(split, deadline):
        if count % _WEIGHED_EVERY == 0:
            some.append(entry)
        count += 1
    return count, some


def _images(folder: Path, deadline: float, depth: int = 0) -> Iterator[os.DirEntry[str]]:
    """Images of class folders and of folders in them; names that begin with a dot are passed over, as in the scan."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if time.monotonic() > deadline:
                raise TimeLimitReached
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _images(Path(entry.path), deadline, depth + 1)
            elif depth and entry.name.lower().endswith(EXTENSIONS):
                yield entry
