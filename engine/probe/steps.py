"""What a step is, and where its time goes, from its fetches, backward passes and updates.

An update is a call of an optimizer's step after a backward pass. Which batches count as trained on, and which are
validation, is said in `fetches`. The time of a step begins at the update before it, or at the first batch of a pass. It
is the host's clock's; `cuda` adds the device's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from . import layout
from .fetches import Fetches
from .losses import Losses
from .page import Page, Probe

clock = time.monotonic
get_ident = threading.get_ident
_UNSEEN = 20
"""Backward passes without any optimizer's step after which the backward pass itself is taken for the update, and the
other way round."""


class Steps:
    """The accounting of this process. Every method is called on the step's path and does no I/O."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._open: list[Fetches] = []
        self._mark = 0.0
        """When the present step began; 0: unknown."""
        self._computing = 0.0
        """When the newest batch was delivered; 0: nothing is being computed."""
        self._backward_end = 0.0
        self._backwards = 0
        """Since the last update."""
        self._led: set[int] = set()
        """Threads with a backward pass since their own last update: several may train a model each."""
        self._validating = 0.0
        """When the first batch of the present validation was asked for; 0: none is under way."""
        self.losses = Losses()
        self._reported = self._validation_reported = False
        """The script reports its updates itself, and that it validates."""
        self._optimizer: Any | None = None
        """The newest one, while updates are reported."""
        self._newest: Fetches | None = None
        """Of the loader that was asked last since the last backward pass."""
        self._trained_once = False
        """Batches of some loader were followed by a backward pass."""
        self._dry = 0
        """Updates since batches were last trained on; -1: they were since the last update."""
        self._unled = 0
        """Steps of an optimizer without a backward pass."""
        self._thread = threading.main_thread().ident
        """The thread of the newest backward pass."""
        self.on_fetch: list[Callable[[float], None]] = []
        """Called when a batch was delivered that may be trained on, with the time."""
        self.on_update: list[Callable[[Page, float], None]] = []
        """Called after an update with the page and the seconds of the step."""
        self.look_at, self.looking = 0.0, False
        """From when on those two are called, and after the next update in any case; so most steps call nothing."""

    def reset(self) -> None:
        """A forked child begins anew."""
        self._open = []
        self._mark = self._computing = self._backward_end = self._validating = 0.0
        self._backwards, self._led = 0, set()
        self._reported = self._validation_reported = self._trained_once = False
        self._optimizer = self._newest = None
        self.losses.reset()
        self._dry = self._unled = 0
        self._thread = get_ident()

    # Batches.

    def pass_begins(self, page: Page, now: float) -> None:
        """A loader is iterated over from its start."""
        if not self._backwards:
            self._mark = now

    def forget_batches(self) -> None:
        """What was fetched so far is not trained on."""
        self._open = []
        self._newest = None

    def computes(self, now: float) -> None:
        """A step begins to compute, as the script's framework says."""
        self._computing = self._computing or now

    def pass_ends(self, page: Page, one: Fetches, now: float) -> None:
        """The loader had no further batch."""
        one.ended = now
        if one.count and self._trained_once and not one.facts.trained:
            self._validates(page, one)

    def fetched(self, page: Page, one: Fetches, asked: float, now: float, samples: float, first: bool) -> None:
        """A batch came at `now`; it was asked for at `asked`, with gradients enabled."""
        if self._validation_reported:
            self.validated(page, asked)
            return
        if get_ident() != self._thread:
            self._queued(page, one, asked, samples)
            return
        wait = now - asked
        if self._backward_end > self._computing > 0.0:
            # Gradients are accumulated: what came before this batch was computing.
            page.slots[layout.COMPUTE] += self._backward_end - self._computing
        self._computing = now
        if now >= self.look_at:
            for call in self.on_fetch:
                call(now)
        if one.count == 0:
            one.started = asked
            if one not in self._open:
                self._open.append(one)
        self._newest = one
        one.count += 1
        one.wait += wait
        one.squares += wait * wait
        one.samples += samples
        if first:
            one.first += wait
        if one.count > one.facts.ahead or one.facts.validates:
            self._validates(page, one)

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
        if not self._validating:
            self._validating = asked
            page.slots[layout.PHASE] = layout.VALIDATION
        page.slots[layout.VALIDATION_BATCHES] += 1
        self._computing = 0.0

    def _validates(self, page: Page, one: Fetches) -> None:
        """No backward pass followed those batches, or none will, as it seems."""
        if not self._validating:
            self._validating = one.started
            page.slots[layout.PHASE] = layout.VALIDATION
        page.slots[layout.VALIDATION_BATCHES] += one.count - one.judged
        one.judged = one.count
        # The next pass is known for what it is at its first batch, until a backward pass follows.
        one.facts.validates = not one.facts.trained

    def _train_again(self, page: Page, now: float) -> None:
        """Training goes on after a validation, whose time belongs to no step."""
        page.slots[layout.VALIDATION_SECONDS] += max(0.0, now - self._validating)
        self._validating = 0.0
        self._mark = now

    # Backward passes and updates.

    def backward(self, page: Page, begun: float, now: float, loss: Any) -> None:
        """A backward pass from `begun` to `now`."""
        slots = page.slots
        slots[layout.BACKWARDS] += 1
        self._backwards += 1
        if self._computing > self._backward_end:
            slots[layout.FORWARD] += begun - self._computing
        self._backward_end = now
        self._led.add(thread := get_ident())
        if thread != self._thread:
            self._thread = thread
            slots[layout.THREADED] = 0.0
        if self._open:
            self._credit(page)
        if now >= self.losses.due:
            self.losses.backward(loss)
        if not slots[layout.OPTIMIZER_SEEN] and slots[layout.BACKWARDS] > _UNSEEN:
            self.updated(page, now, None)

    def _credit(self, page: Page) -> None:
        """Judge the batches that were fetched since the last backward pass."""
        newest, self._newest = self._newest, None
        found, self._open = self._open, []
        if len(found) == 1 and found[0] is newest and newest.count and not newest.queue and not newest.ended:
            # Nearly every step: one loader, which is being read.
            self._credit_fetched(page, newest)
            return
        trained = []
        for one in found:
            if not one.count and not one.queue:
                continue
            asked_last = one is newest and (one.trained or not one.ended)
            few = one.count <= one.facts.ahead and not one.judged
            if one.queue and not one.left_before(found):
                self._credit_queued(page, one)
            elif asked_last or (few and not one.left_before(found)):
                trained.append(one)
            else:
                one.count += len(one.queue)
                one.queue.clear()
                self._validates(page, one)
                one.clear()
        for one in trained:
            self._credit_fetched(page, one)

    def _credit_fetched(self, page: Page, one: Fetches) -> None:
        slots = page.slots
        if one.judged:
            # The loop fetches more batches ahead than it seemed.
            slots[layout.VALIDATION_BATCHES] -= one.judged
            one.facts.ahead = max(one.facts.ahead, one.count)
        if self._validating and self._validating < one.started:
            self._train_again(page, one.started)
        self._validating = 0.0
        slots[layout.WAIT] += one.wait
        slots[layout.FIRST_WAIT] += one.first
        slots[layout.WAIT_SQUARES] += one.squares
        slots[layout.SAMPLES] += one.samples
        slots[layout.BATCHES] += one.count
        self._dry = -1
        self._trained_once = one.trained = one.facts.trained = True
        one.facts.validates = False
        one.clear()

    def _credit_queued(self, page: Page, one: Fetches) -> None:
        """One of the batches that another thread has fetched."""
        page.slots[layout.SAMPLES] += one.queue.popleft()
        page.slots[layout.BATCHES] += 1
        self._dry = -1
        self._trained_once = one.trained = one.facts.trained = True
        if one.queue:
            self._open.append(one)

    def updated(self, page: Page, now: float, optimizer: Any) -> None:
        """An optimizer's step ended at `now`; not an update unless a backward pass came before."""
        if self._reported:
            self._optimizer = optimizer
        elif self._backwards or get_ident() in self._led:
            self._update(page, now, optimizer)
        elif not page.slots[layout.BACKWARDS]:
            # Gradients by torch.func or torch.autograd.grad.
            self._unled += 1
            if self._unled > _UNSEEN:
                self._credit(page)
                self._update(page, now, optimizer)

    def retract(self, page: Page) -> None:
        """The newest update was none: its gradients were infinite, and it changed nothing."""
        if not self._reported:
            page.slots[layout.UPDATES] -= 1

    def report(self, page: Page, now: float, samples: float, loss: float | None, updates: int = 1) -> None:
        """The script says that updates are done. What was counted before the first report does not count."""
        slots = page.slots
        if not self._reported:
            self._reported = True
            slots[layout.UPDATES] = 0.0
        counted = slots[layout.SAMPLES] if slots[layout.REPORTED] else 0.0
        self.enter(page, now, False)
        self._credit(page)
        if samples > 0:
            slots[layout.SAMPLES] = counted + samples
        slots[layout.REPORTED] += updates
        self._update(page, now, self._optimizer, updates)
        self.losses.report(slots, loss)

    def enter(self, page: Page, now: float, validates: bool) -> None:
        """The script says that it validates from now on, or that it trains again."""
        if validates and not self._validation_reported:
            self._validation_reported = True
            self._validating = self._validating or now
            page.slots[layout.PHASE] = layout.VALIDATION
        elif self._validation_reported and not validates:
            self._validation_reported = False
            self._train_again(page, now)

    def _update(self, page: Page, now: float, optimizer: Any, updates: int = 1) -> None:
        slots = page.slots
        self._backwards = 0
        self._led.discard(get_ident())
        self._dry += 1
        slots[layout.DRY] = self._dry
        slots[layout.UPDATES] += updates
        slots[layout.PHASE] = layout.TRAINING
        slots[layout.LAST_STEP] = now
        if self._computing:
            slots[layout.COMPUTE] += now - self._computing
        self._computing = 0.0
        seconds = now - self._mark if self._mark else 0.0
        slots[layout.STEP_SECONDS] += seconds
        self._mark = now
        if now >= self.look_at or self.looking:
            for call in self.on_update:
                call(page, seconds)
        losses = self.losses
        if now >= losses.due or id(optimizer) != losses.last:
            losses.updated(slots, now, optimizer, self._reported)
