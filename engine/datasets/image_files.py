"""Which files are images, and a quick count of a folder of class folders, for plans."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from gputrain.engine.estimates.host_memory import DataFacts

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")
"""Suffixes of images: torchvision's list, and GIF (its first frame)."""
COUNT_SECONDS = 0.5
"""Time limit of a plan's count; enough for some hundred thousand files on a local disk."""
_WEIGHED_EVERY = 50
"""The size of one in so many files is read."""
_LOOKED_AT = 16
"""Files whose headers are read at most, for the images' sizes."""


class TimeLimitReached(Exception):  # noqa: N818 - not an error: the time is up
    pass


def count_images(folder: Path, train_split: str, val_split: str, seconds: float = COUNT_SECONDS) -> DataFacts | None:
    """Images below ``folder/split/<class>/…``, and bytes and sides of the training images from a sample of them.

    None if they cannot be counted, or not in `seconds`; the run's scan then names the fault.
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


def _count(split: Path, deadline: float) -> tuple[int, list[os.DirEntry[str]]]:
    """The number of images, and one in _WEIGHED_EVERY of them."""
    count, some = 0, []
    for entry in _images(split, deadline):
        if count % _WEIGHED_EVERY == 0:
            some.append(entry)
        count += 1
    return count, some


def _images(folder: Path, deadline: float, depth: int = 0) -> Iterator[os.DirEntry[str]]:
    """Images of class folders and their sub-folders, without names that begin with a dot, as in the scan."""
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
