"""Values of deep images: which files are looked at, and the darkest and brightest values of each."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from gputrain.engine.configuration.value_range import ValueRange
from gputrain.engine.datasets import image_files
from gputrain.engine.imaging import grey_values

USUAL = 99.9
"""Percentile of an image's pixels up to which values are usual; those above may be hot pixels."""


class Extremes(NamedTuple):
    """Values of one image."""

    path: str
    low: float
    high: float
    usual_low: float
    usual_high: float
    """Extremes without the darkest and the brightest 0.1 % of the pixels, at least one each."""
    kind: Literal["integer", "float", "colour"]
    full: ValueRange


@functools.lru_cache(maxsize=1024)
def of_file(path: str, _size: int, _time: int) -> Extremes | None:
    """Extremes of a deep image's values; None for images of 8 bits and unreadable files. Cached: plans ask again."""
    try:
        with Image.open(path) as opened:
            if grey_values.is_wide_colour(opened):
                lows, highs = zip(*opened.convert("RGB").getextrema(), strict=True)
                low, high = min(lows), max(highs)
                return Extremes(path, low, high, low, high, "colour", ValueRange(0, 255))
            if not grey_values.is_deep(opened):
                return None
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            grey = grey_values.grey_values(image, data)
    except Exception:  # noqa: BLE001 - the loader reports bad images
        return None
    if grey is None:
        return None
    finite = grey.values[np.isfinite(grey.values)]
    if not finite.size:
        return None
    kind: Literal["integer", "float"] = "integer" if np.issubdtype(grey.values.dtype, np.integer) else "float"
    # "lower" and "higher": also in a small image one pixel does not count.
    usual_low = float(np.percentile(finite, 100 - USUAL, method="higher"))
    usual_high = max(usual_low, float(np.percentile(finite, USUAL, method="lower")))
    return Extremes(path, float(finite.min()), float(finite.max()), usual_low, usual_high, kind, grey.full)


def sample(folder: Path, count: int) -> list[str]:
    """At most `count` image files under `folder`, spread evenly over sub-folders and files in sorted order."""
    return _sample(folder, count, image_files.ancestors(folder))


def _sample(folder: Path, count: int, above: frozenset[tuple[int, int]]) -> list[str]:
    with os.scandir(folder) as entries:
        known = sorted(entries, key=lambda entry: entry.name)
    folders = [entry.path for entry in known if entry.is_dir() and not image_files.is_ignored(entry.name)]
    folders = [path for path in folders if image_files.identity_of(path) not in above]
    files = [entry.path for entry in known if entry.is_file() and image_files.is_image(entry.path)]
    found = _spread(files, count // 2 if folders else count)
    chosen = _spread(folders, count - len(found))
    for number, path in enumerate(chosen):
        # What earlier folders left goes to the later ones.
        share = -(-(count - len(found)) // (len(chosen) - number))
        if share > 0:
            found += _sample(Path(path), share, above | {image_files.identity_of(path)})
    return found


def _spread(items: Sequence[str], count: int) -> list[str]:
    """At most `count` of the items, evenly spaced from the first to the last."""
    if len(items) <= count:
        return list(items)
    return (
        [items[place] for place in np.linspace(0, len(items) - 1, count).round().astype(int).tolist()] if count else []
    )
