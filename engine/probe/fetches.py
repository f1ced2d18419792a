"""Batches that a pass over a loader gave since the last backward pass, and which of them were trained on.

A backward pass trains on the batches of the loader that was asked last, and on at most two of each other loader that is
still being read. Batches of a pass that ended, or was left, before another loader was asked are validation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

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


class Fetches:
    """Of one pass: its batches that no backward pass has followed yet."""

    __slots__ = (
        "count",
        "ended",
        "facts",
        "first",
        "iterator",
        "judged",
        "queue",
        "samples",
        "squares",
        "started",
        "trained",
        "wait",
    )

    def __init__(self, facts: LoaderFacts, iterator: Callable[[], Any]) -> None:
        """`iterator`: a weak reference to the iterator of the pass."""
        self.facts = facts
        self.iterator = iterator
        self.ended = 0.0
        """When the pass had no more batches; 0: it has."""
        self.trained = False
        """A backward pass followed one of its batches."""
        self.queue: deque[float] = deque()
        """Samples of batches that another thread fetched than the one that trains."""
        self.count = 0
        self.judged = 0
        """Those of `count` that were taken for validation."""
        self.wait = 0.0
        self.first = 0.0
        self.squares = 0.0
        self.samples = 0.0
        self.started = 0.0
        """When the first of these batches was asked for."""

    def clear(self) -> None:
        """Nothing is left open."""
        self.count = self.judged = 0
        self.wait = self.first = self.squares = self.samples = 0.0

    def left_before(self, others: list[Fetches]) -> bool:
        """It gave nothing to train on, and had ended or was left when another of `others` was asked."""
        if self.trained:
            return False
        over = self.ended or (self.started if self.iterator() is None else 0.0)
        return over > 0.0 and any(other is not self and other.started >= over for other in others)
