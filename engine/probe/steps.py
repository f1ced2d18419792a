"""What a step is, and where its time goes, from its fetches, backward passes and updates.

An update is a call of an optimizer's step after a backward pass. Which batches count as trained on, and which are
validation, is said in `fetches`. The time of a step begins at the update before it, or at the first batch of a pass. It
is the host's clock's; `cuda` adds the device's.

What a step computes empties the caches, so a hook takes several times as long in a step as in a loop of nothing else.
Nearly every step is a usual one: a batch of the pass that is trained on, one backward pass, one update by the same
optimizer. In those the hooks only note the time (`Steps.stage`), and the update counts all of it and writes it to the
page. Anything else first counts what was noted (`Steps.settle`), and then itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

from . import layout
from .fetches import Batches, Fetches, get_ident
from .layout import (
    BACKWARDS,
    BATCHES,
    COMPUTE,
    EPOCH_BATCHES,
    FORWARD,
    LAST_STEP,
    SAMPLES,
    STEP_SECONDS,
    UPDATES,
    WAIT,
    WAIT_SQUARES,
)
from .losses import Losses
from .page import Page

clock = time.monotonic
ODD, READY, FETCHED, INSIDE, DONE = range(5)
"""Of a usual step: none; none yet; a batch was fetched; a backward pass is under way; it has ended."""
_USUAL_STEPS = 8
"""After so many usual steps the next one is counted as any other, which takes requests of the supervisor."""
_LOOK_SECONDS = 0.2
"""The loss, the device's clock and requests are looked at no more often."""
_UNSEEN = 20
"""Backward passes without any optimizer's step after which the backward pass itself is taken for the update, and the
other way round."""


class Steps(Batches):
    """The accounting of this process. Every method is called on the step's path and does no I/O."""

    __slots__ = (
        "_backwards",
        "_led",
        "_off",
        "_optimizer",
        "_reported",
        "_single",
        "_trainers",
        "_unled",
        "_usual_left",
        "asked",
        "backwards",
        "begun",
        "delivered",
        "ended",
        "forward",
        "length",
        "losses",
        "number",
        "on_update",
        "optimizer",
        "optimizer_seen",
        "seconds",
        "slots",
        "stage",
        "updates",
        "usual",
    )

    def __init__(self, off: Collection[str]) -> None:
        """`off`: hooks that failed."""
        self._off = off
        self.losses = Losses()
        self.on_update: list[Callable[[Page, float], None]] = []
        """Called after an update that is looked at, with the page and the seconds of the step."""
        self._forget()
        super().__init__()

    def reset(self) -> None:
        """A forked child begins anew."""
        self.losses.reset()
        self._forget()
        self.forget_sums()

    def _forget(self) -> None:
        # As in `layout`.
        self.backwards = self.forward = self.updates = self.seconds = 0.0
        self.optimizer_seen = False
        self.stage = ODD
        self.usual: Fetches | None = None
        """The pass that a usual step fetches its batch of."""
        self.asked = self.delivered = self.length = self.begun = self.ended = 0.0
        """Of a usual step: when its batch was asked for and came, how many samples it has, its backward pass."""
        self.number = 0
        """Of that batch in its pass."""
        self.optimizer = 0
        """The identity of the one that makes the updates of usual steps."""
        self.slots: Any = None
        """Of the page."""
        self._usual_left = 0
        self._single: Fetches | None = None
        """The pass whose batch was the only one before the only backward pass since the last update."""
        self._backwards = 0
        """Since the last update."""
        self._led: set[int] = set()
        """Threads with a backward pass since their own last update: several may train a model each."""
        self._trainers: set[int] = set()
        """Threads that made a backward pass; with several no step is a usual one."""
        self._unled = 0
        """Steps of an optimizer without a backward pass."""
        self._reported = False
        """The script reports its updates itself."""
        self._optimizer: Any | None = None
        """The newest one, while updates are reported."""

    def end_usual(self, now: float) -> None:
        """Its update ended."""
        wait = self.delivered - self.asked
        seconds = now - self._mark
        self._mark = now
        self.backwards += 1.0
        self.samples += self.length
        self.batches += 1.0
        self.wait += wait
        self.wait_squares += wait * wait
        self.forward += self.begun - self.delivered
        self.updates += 1.0
        self.compute += now - self.delivered
        self.seconds += seconds
        slots = self.slots
        slots[BACKWARDS] = self.backwards
        slots[SAMPLES] = self.samples
        slots[BATCHES] = self.batches
        slots[WAIT] = self.wait
        slots[WAIT_SQUARES] = self.wait_squares
        slots[FORWARD] = self.forward
        slots[LAST_STEP] = now
        slots[UPDATES] = self.updates
        slots[COMPUTE] = self.compute
        slots[STEP_SECONDS] = self.seconds
        slots[EPOCH_BATCHES] = self.number
        self._usual_left = left = self._usual_left - 1
        self.stage = READY if left and now < self.look_at else ODD

    def settle(self, page: Page) -> None:
        """Something else happens than the next part of a usual step: count what there was of it."""
        stage, self.stage = self.stage, ODD
        if stage >= FETCHED and self.usual is not None:
            # Too late for what is looked at when a batch comes.
            self.look_at = max(self.look_at, self.delivered + 1e-6)
            self.fetched(page, self.usual, self.asked, self.delivered, self.length, self.number, self.thread)
        if stage == DONE:
            self.backward(page, self.begun, self.ended, None, self.thread)

    def interrupt(self, page: Page) -> None:
        """A loader does something else. Another thread's leaves the step of the thread that trains alone."""
        if self.stage and get_ident() == self.thread:
            self.settle(page)

    def pass_begins(self, page: Page, now: float) -> None:
        """A loader is iterated over from its start."""
        self.interrupt(page)
        if not self._backwards:
            self._mark = now

    def computes(self, now: float) -> None:
        """A step begins to compute, as the script's framework says."""
        self._computing = self._computing or now

    def backward(self, page: Page, begun: float, now: float, loss: Any, thread: int = 0) -> None:
        """A backward pass from `begun` to `now`, of this thread or of `thread`."""
        if self.stage:
            self.settle(page)
        self.backwards += 1.0
        self._backwards += 1
        if self._computing > self._backward_end:
            self.forward += begun - self._computing
        self._backward_end = now
        thread = thread or get_ident()
        self._led.add(thread)
        self._trainers.add(thread)
        if thread != self.thread:
            self.thread = thread
            page.slots[layout.THREADED] = 0.0
        self._single = None
        if self._open:
            self._credit(page)
        elif self._held is not None:
            self._single = self._held if self._backwards == 1 else None
            self._credit_held(page)
        if now >= self.look_at and loss is not None:
            self.losses.backward(loss)
        self._put_batches(page)
        if not self.optimizer_seen and self.backwards > _UNSEEN:
            self.updated(page, now, None)

    def _put_batches(self, page: Page) -> None:
        slots = page.slots
        slots[BACKWARDS] = self.backwards
        slots[SAMPLES] = self.samples
        slots[BATCHES] = self.batches
        slots[WAIT] = self.wait
        slots[layout.FIRST_WAIT] = self.first_wait
        slots[WAIT_SQUARES] = self.wait_squares
        slots[FORWARD] = self.forward

    def updated(self, page: Page, now: float, optimizer: Any, updates: int = 0) -> None:
        """An optimizer's step ended at `now`, which is no update unless a backward pass came before; or the script's
        framework says that so many `updates` are done."""
        if self.stage > READY:
            self.settle(page)
        if not updates:
            led = self._backwards or get_ident() in self._led
            if (self._reported or not led) and not self._is_unled_update(page, optimizer):
                return
            updates = 1
        self._backwards = 0
        self._led.discard(get_ident())
        self._dry += 1.0
        self.updates += updates
        self._in_validation = False
        if self._computing:
            self.compute += now - self._computing
            self._computing = 0.0
        seconds = now - self._mark if self._mark else 0.0
        self.seconds += seconds
        self._mark = now
        slots = page.slots
        slots[LAST_STEP] = now
        slots[UPDATES] = self.updates
        slots[COMPUTE] = self.compute
        slots[STEP_SECONDS] = self.seconds
        slots[layout.DRY] = self._dry
        slots[layout.PHASE] = layout.TRAINING
        if id(optimizer) != self.losses.last:
            self.losses.other(slots, optimizer)
        if now >= self.look_at or self.looking:
            self.look_at, self.looking = now + _LOOK_SECONDS, False
            self.losses.read(slots, optimizer, self._reported)
            for call in self.on_update:
                call(page, seconds)
        if (
            self._single is not None
            and self.optimizer_seen
            and now < self.look_at
            and not (self._reported or self._off or len(self._trainers) > 1)
        ):
            self.stage, self.usual, self._usual_left = READY, self._single, _USUAL_STEPS
            self.optimizer, self.slots = id(optimizer), slots
        self._single = None

    def _is_unled_update(self, page: Page, optimizer: Any) -> bool:
        """Whether an optimizer's step is an update although no backward pass came before."""
        if self._reported:
            self._optimizer = optimizer
        elif not self.backwards:
            # Gradients by torch.func or torch.autograd.grad.
            self._unled += 1
            if self._unled > _UNSEEN:
                self._credit(page)
                self._put_batches(page)
                return True
        return False

    def retract(self, page: Page) -> None:
        """The newest update was none: its gradients were infinite, and it changed nothing."""
        if not self._reported:
            self.updates -= 1.0
            page.slots[layout.UPDATES] = self.updates

    def report(self, page: Page, now: float, samples: float, loss: float | None, updates: int = 1) -> None:
        """The script says that updates are done. What was counted before the first report does not count."""
        slots = page.slots
        if self.stage:
            self.settle(page)
        if not self._reported:
            self._reported = True
            self.updates = 0.0
        counted = self.samples if slots[layout.REPORTED] else 0.0
        self.enter(page, now, False)
        self._credit(page)
        if samples > 0:
            self.samples = counted + samples
        self._put_batches(page)
        slots[layout.REPORTED] += updates
        self.updated(page, now, self._optimizer, updates)
        self.losses.report(slots, loss)

    def enter(self, page: Page, now: float, validates: bool) -> None:
        """The script says that it validates from now on, or that it trains again."""
        if self.stage:
            self.settle(page)
        if validates and not self._validation_reported:
            self._validation_reported = self._in_validation = True
            self._validating = self._validating or now
            page.slots[layout.PHASE] = layout.VALIDATION
        elif self._validation_reported and not validates:
            self._validation_reported = False
            self._trains_since(page, now)
            self._mark = now
