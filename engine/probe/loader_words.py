"""What is known of a DataLoader: its settings, where it was made and for whom, how many samples its batches have."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from .loader_change import order_is_kept

_LIBRARY = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep)
_STANDARD = sys.base_prefix + os.sep + "lib"
_PASSED_THROUGH = ("torch", "torchdata")
"""Packages whose frames say nothing of who makes a loader."""
_TWICE = {"tqdm": "tqdm.auto"}
AHEAD = 2
"""Batches that a loop may fetch before the backward pass of the first of them."""


class LoaderFacts:
    """What is known of one DataLoader."""

    __slots__ = ("ahead", "framework", "passes", "place", "started_twice", "trained", "unread", "validates", "words")

    def __init__(self, place: tuple[str, int], framework: str = "") -> None:
        self.place = place
        """File and line where it was made."""
        self.framework = framework
        """The package whose function the script called to make it; empty: its own code made it."""
        self.passes = 0
        self.words: dict[str, Any] = {}
        """Its settings, as this pass began with them."""
        self.trained = False
        """Its batches were followed by backward passes."""
        self.validates = False
        """The newest judged pass over it was validation."""
        self.ahead = AHEAD
        """Most batches that were fetched before the backward pass of the first of them."""
        self.unread: Callable[[], Any] = lambda: None
        """The newest iterator, until it has given a batch."""
        self.started_twice = ""
        """Who started an iterator that gave nothing, while a second one was read; empty: nobody."""


def words(loader: Any, facts: LoaderFacts) -> dict[str, Any]:
    """Which loader it is, and its settings."""
    try:
        length = float(len(loader))
    except Exception:  # noqa: BLE001 - an IterableDataset without a length, or with one that raises
        length = -1.0
    return {
        "file": facts.place[0],
        "line": facts.place[1],
        "framework": facts.framework,
        "workers": loader.num_workers,
        "prefetch": loader.prefetch_factor,
        "persistent": bool(loader.persistent_workers),
        "pin_memory": bool(loader.pin_memory),
        "batch_size": getattr(loader, "batch_size", None),
        "iterable": loader._dataset_kind != 0,
        "order_kept": loader._dataset_kind == 0 and order_is_kept(loader),
        "type": type(loader).__module__ + "." + type(loader).__qualname__,
        "length": length,
    }


def has_indices(iterator: Any) -> bool:
    """Whether an iterator draws a list of indices for each batch; else only the batch tells how many samples it has."""
    return bool(getattr(iterator, "_auto_collation", True)) and getattr(iterator, "_dataset_kind", 1) == 0


def first_dimension(batch: Any) -> float:
    """Samples in a batch by its first tensor; 0 where there is none."""
    for _ in range(4):
        shape = getattr(batch, "shape", None)
        if shape is not None:
            return float(shape[0]) if len(shape) else 1.0
        if isinstance(batch, dict):
            batch = next(iter(batch.values()), None)
        elif isinstance(batch, (list, tuple)):
            batch = batch[0] if batch else None
        else:
            return 0.0
    return 0.0


def maker(depth: int) -> tuple[tuple[str, int], str]:
    """File and line of the user's own code that runs now, and the package that it called; ``""``: torch itself.

    `depth`: frames of the probe above the one that is asked for.
    """
    frame: Any | None = sys._getframe(depth)
    fallback, package = ("", 0), ""
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith("<frozen") or (name.startswith(_STANDARD) and not _in_library(name)):
            frame = frame.f_back
            continue
        if not _in_library(name):
            return (name, frame.f_lineno), package
        if (found := _package(frame)) not in _PASSED_THROUGH:
            fallback = fallback if fallback[0] else (name, frame.f_lineno)
            package = found
        frame = frame.f_back
    return fallback, package


def starter(depth: int) -> str:
    """What started an iterator: ``tqdm.auto``, another package, or the script."""
    package = maker(depth + 1)[1]
    return _TWICE.get(package, package) or "the script"


def _in_library(name: str) -> bool:
    return any(part in name for part in _LIBRARY)


def _package(frame: Any) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
