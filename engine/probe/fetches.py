"""Batches that a pass over a loader gave since the last backward pass, and which of them were trained on.

A backward pass trains on the batches of the loader that was asked last, and on at most two of each other loader that is
still being read. Batches of a pass that ended, or was left, before another loader was asked are validation.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from . import layout
from .loader_words import LoaderFacts
from .page import Page

get_ident = threading.get_ident
_EPOCH_BATCHES = layout.EPOCH_BATCHES


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

    def add(self, asked: float, wait: float, samples: float) -> None:
        """A batch of `samples` samples, for which the loop has waited since `asked`."""
        if not self.count:
            self.started = asked
        self.count += 1
        self.wait += wait
        self.squares += wait * wait
        self.samples += samples

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


def judge(found: list[Fetches], newest: Fetches | None) -> tuple[list[Fetches], list[Fetches], list[Fetches]]:
    """Of the passes that gave batches since the last backward pass, `newest` being the one that was asked last: those
    whose batches are trained on, those of whose queue one batch is, and those that are validation."""
    trained, queued, validation = [], [], []
    for one in found:
        if not one.count and not one.queue:
            continue
        asked_last = one is newest and (one.trained or not one.ended)
        few = one.count <= one.facts.ahead and not one.judged
        left = one.left_before(found)
        if one.queue and not left:
            queued.append(one)
        elif asked_last or (few and not left):
            trained.append(one)
        else:
            validation.append(one)
    return trained, queued, validation


class Batches:
    """What the loaders of this process gave, and the sums of what was trained on.

    The batch of the usual step, the only one since the last backward pass, goes to no list: it is held apart (`_held`).
    """

    __slots__ = (
        "_asked",
        "_backward_end",
        "_computing",
        "_dry",
        "_held",
        "_held_samples",
        "_held_wait",
        "_in_validation",
        "_mark",
        "_newest",
        "_open",
        "_trained_once",
        "_validating",
        "_validation_reported",
        "batches",
        "compute",
        "first_wait",
        "look_at",
        "looking",
        "on_fetch",
        "samples",
        "thread",
        "wait",
        "wait_squares",
    )

    def __init__(self) -> None:
        self.on_fetch: list[Callable[[float], None]] = []
        """Called when a batch was delivered that may be trained on, with the time."""
        self.forget_sums()
        # Torch may be imported by another thread than the one that trains.
        self.thread = threading.main_thread().ident or 0

    def forget_sums(self) -> None:
        """Begin anew."""
        # As in `layout`.
        self.samples = self.batches = self.wait = self.first_wait = self.wait_squares = self.compute = 0.0
        self.look_at = 0.0
        """From when on `on_fetch` is called, so that most steps call nothing."""
        self.looking = False
        """It was called since the last update."""
        self.thread = get_ident()
        """Of the newest backward pass."""
        self._mark = 0.0
        """When the present step began; 0: unknown."""
        self._computing = 0.0
        """When the newest batch was delivered; 0: nothing is being computed."""
        self._backward_end = 0.0
        self._validating = 0.0
        """When the first batch of the present validation was asked for; 0: none is under way."""
        self._in_validation = False
        """The phase in the page is validation: until the next update."""
        self._validation_reported = False
        self._held: Fetches | None = None
        """Whose newest batch is the only one since the last backward pass, where batches of it were trained on."""
        self._asked = self._held_wait = self._held_samples = 0.0
        """Of that batch."""
        self._open: list[Fetches] = []
        """Else: the passes that gave batches since the last backward pass."""
        self._newest: Fetches | None = None
        """Of these, the one that was asked last."""
        self._trained_once = False
        """Batches of some loader were followed by a backward pass."""
        self._dry = 0.0
        """Updates since batches were last trained on; -1: they were since the last update."""

    def forget_batches(self) -> None:
        """What was fetched so far is not trained on."""
        for one in self._open:
            one.clear()
        self._open = []
        self._held = self._newest = None

    def pass_ends(self, page: Page, one: Fetches, now: float) -> None:
        """The loader had no further batch."""
        one.ended = now
        if one.count and self._trained_once and not one.facts.trained:
            self._validates(page, one)

    def fetched(
        self, page: Page, one: Fetches, asked: float, now: float, samples: float, number: int, thread: int = 0
    ) -> None:
        """The pass gave this thread, or `thread`, its batch `number`, from 1, at `now`; asked for at `asked`, with
        gradients enabled."""
        if self._validation_reported:
            self.validated(page, asked)
        elif (thread or get_ident()) != self.thread:
            self._queued(page, one, asked, samples)
        else:
            if self._backward_end > self._computing > 0.0:
                # Gradients are accumulated: what came before this batch was computing.
                self.compute += self._backward_end - self._computing
            self._computing = now
            if now >= self.look_at:
                self.looking = True
                for call in self.on_fetch:
                    call(now)
            if one.trained and self._held is None and not self._open:
                # Nearly every step.
                self._held, self._asked, self._held_wait, self._held_samples = one, asked, now - asked, samples
            else:
                self._fetched_more(page, one, asked, now - asked, samples, number == 1)
        if number > 1 and not self._in_validation:
            page.slots[_EPOCH_BATCHES] = number

    def _fetched_more(self, page: Page, one: Fetches, asked: float, wait: float, samples: float, first: bool) -> None:
        """A batch of a pass that may be validation, or a further one since the last backward pass."""
        self._release()
        self._add(one, asked, wait, samples)
        if first:
            one.first += wait
        if one.count > one.facts.ahead or one.facts.validates:
            self._validates(page, one)

    def _release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._add(held, self._asked, self._held_wait, self._held_samples)

    def _add(self, one: Fetches, asked: float, wait: float, samples: float) -> None:
        if not one.count and one not in self._open:
            self._open.append(one)
        one.add(asked, wait, samples)
        self._newest = one

    def _queued(self, page: Page, one: Fetches, asked: float, samples: float) -> None:
        """Another thread reads the loader and hands its batches to the one that trains."""
        page.slots[layout.THREADED] = 1.0
        if not one.queue:
            one.started = asked
            if one not in self._open:
                self._open.append(one)
        one.queue.append(samples)

    def validated(self, page: Page, asked: float) -> None:
        """A batch was fetched without gradients: it is not trained on."""
        self._validates_since(page, asked)
        page.slots[layout.VALIDATION_BATCHES] += 1
        self._computing = 0.0

    def _validates_since(self, page: Page, asked: float) -> None:
        if not self._validating:
            self._validating, self._in_validation = asked, True
            page.slots[layout.PHASE] = layout.VALIDATION

    def _validates(self, page: Page, one: Fetches) -> None:
        """No backward pass followed those batches, or none will, as it seems."""
        self._validates_since(page, one.started)
        page.slots[layout.VALIDATION_BATCHES] += one.count - one.judged
        one.judged = one.count
        # The next pass is known for what it is at its first batch, until a backward pass follows.
        one.facts.validates = not one.facts.trained

    def _trains_since(self, page: Page, asked: float) -> None:
        """Training goes on with a batch that was `asked` for; the time of a validation before it belongs to no step."""
        if 0.0 < self._validating < asked:
            page.slots[layout.VALIDATION_SECONDS] += asked - self._validating
            self._mark = asked
        self._validating = 0.0

    def _credit_held(self, page: Page) -> None:
        """The held batch is trained on."""
        self._held = None
        if self._validating:
            self._trains_since(page, self._asked)
        wait = self._held_wait
        self.wait += wait
        self.wait_squares += wait * wait
        self.samples += self._held_samples
        self.batches += 1.0
        self._dry = -1.0

    def _credit(self, page: Page) -> None:
        """Judge the batches that were fetched since the last backward pass."""
        self._release()
        newest, self._newest = self._newest, None
        found, self._open = self._open, []
        trained, queued, validation = judge(found, newest)
        for one in queued:
            # One of the batches that another thread has fetched.
            self.samples += one.queue.popleft()
            self.batches += 1.0
            self._trains(one)
            if one.queue:
                self._open.append(one)
        for one in validation:
            one.count += len(one.queue)
            one.queue.clear()
            self._validates(page, one)
            one.clear()
        for one in trained:
            if one.judged:
                # The loop fetches more batches ahead than it seemed.
                page.slots[layout.VALIDATION_BATCHES] -= one.judged
                one.facts.ahead = max(one.facts.ahead, one.count)
            self._trains_since(page, one.started)
            self.wait += one.wait
            self.first_wait += one.first
            self.wait_squares += one.squares
            self.samples += one.samples
            self.batches += one.count
            self._trains(one)
            one.facts.validates = False
            one.clear()

    def _trains(self, one: Fetches) -> None:
        self._dry = -1.0
        self._trained_once = one.trained = one.facts.trained = True
