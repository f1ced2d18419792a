"""What a step is, and where its time goes, from its fetches, backward passes and updates.

An update is a call of an optimizer's step after a backward pass. A batch counts as trained on when a backward pass
follows at most two fetches of its loader; other batches are validation. The time of a step begins at the update before
it, or at the first batch of a pass. All of it is by the host's clock; `cuda` adds the device's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from . import layout
from .page import Page, Probe

clock = time.monotonic
_WINDOW_SECONDS = 0.2
"""How often the loss and the learning rate are read."""
_AHEAD = 2
"""Batches that a loop may fetch before the backward pass of the first of them."""
_UPDATES_UNSEEN = 20
"""Backward passes without any optimizer's step after which the backward pass itself is taken for the update."""


class Fetches:
    """Batches of one loader that no backward pass has followed yet."""

    __slots__ = ("count", "first", "judged", "samples", "squares", "started", "trained", "wait")

    def __init__(self) -> None:
        self.count = 0
        self.judged = 0
        """Those of `count` that stand for earlier ones of a validation."""
        self.wait = 0.0
        self.first = 0.0
        self.squares = 0.0
        self.samples = 0.0
        self.started = 0.0
        self.trained = False
        """A backward pass followed one of them."""

    def clear(self) -> None:
        """Nothing is left open."""
        self.count = self.judged = 0
        self.wait = self.first = self.squares = self.samples = 0.0


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
        self._validating = 0.0
        """When the first batch of the present validation was asked for; 0: none is under way."""
        self._window = 0.0
        self._reported = False
        """The script reports its updates itself."""
        self._validation_reported = False
        self._optimizer: Any | None = None
        """The newest one, while updates are reported."""
        self.loss: Any | None = None
        self.on_fetch: list[Callable[[float], None]] = []
        """Called when a batch was delivered that may be trained on, with the time."""
        self.on_update: list[Callable[[Page, float], None]] = []
        """Called after an update with the page and the seconds of the step."""
        self.look_at = 0.0
        """From when on those two are called; they set it, so that most steps call nothing."""
        self.looking = False
        """Call after the next update in any case."""

    def reset(self) -> None:
        """A forked child begins anew."""
        self._open = []
        self._mark = self._computing = self._backward_end = self._validating = 0.0
        self._backwards = 0
        self._reported = self._validation_reported = False
        self.loss = self._optimizer = None

    # Batches.

    def pass_begins(self, page: Page, now: float) -> None:
        """A loader is iterated over from its start."""
        if not self._backwards:
            self._mark = now

    def fetched(self, page: Page, one: Fetches, asked: float, now: float, samples: float, first: bool) -> None:
        """A batch of `one`'s loader came at `now`; it was asked for at `asked`, with gradients enabled."""
        if self._validation_reported:
            self.validated(page, asked)
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
        one.count += 1
        one.wait += wait
        one.squares += wait * wait
        one.samples += samples
        if first:
            one.first += wait
        if one.count > _AHEAD:
            self._validates(page, one)

    def validated(self, page: Page, asked: float) -> None:
        """A batch was fetched without gradients: it is not trained on."""
        if not self._validating:
            self._validating = asked
            page.slots[layout.PHASE] = layout.VALIDATION
        page.slots[layout.VALIDATION_BATCHES] += 1
        self._computing = 0.0

    def _validates(self, page: Page, one: Fetches) -> None:
        if not self._validating:
            self._validating = one.started
            page.slots[layout.PHASE] = layout.VALIDATION
        page.slots[layout.VALIDATION_BATCHES] += one.count - one.judged
        one.clear()
        # The next one is known for what it is at once, until a backward pass follows.
        one.count = one.judged = _AHEAD

    def _train_again(self, page: Page, now: float) -> None:
        """Training goes on after a validation, whose time belongs to no step."""
        page.slots[layout.VALIDATION_SECONDS] += max(0.0, now - self._validating)
        self._validating = 0.0
        self._mark = now

    # Backward passes and updates.

    def backward(self, page: Page, now: float, loss: Any) -> None:
        """A backward pass ended at `now`."""
        slots = page.slots
        slots[layout.BACKWARDS] += 1
        self._backwards += 1
        self._backward_end = now
        self._credit(page)
        if now - self._window > _WINDOW_SECONDS:
            self.loss = loss.detach()
        if not slots[layout.OPTIMIZER_SEEN] and slots[layout.BACKWARDS] > _UPDATES_UNSEEN:
            self.updated(page, now, None)

    def _credit(self, page: Page) -> None:
        """The batches that were fetched and not judged yet are trained on."""
        slots = page.slots
        for one in self._open:
            if 0 < one.count <= _AHEAD and one.samples >= 0.0:
                if self._validating and one.wait > 0.0:
                    self._train_again(page, one.started)
                slots[layout.WAIT] += one.wait
                slots[layout.FIRST_WAIT] += one.first
                slots[layout.WAIT_SQUARES] += one.squares
                slots[layout.SAMPLES] += one.samples
                slots[layout.BATCHES] += one.count
                one.trained = True
            one.clear()
        self._open.clear()

    def updated(self, page: Page, now: float, optimizer: Any) -> None:
        """An optimizer's step ended at `now`; not an update unless a backward pass came before."""
        if self._reported:
            self._optimizer = optimizer
        elif self._backwards:
            self._update(page, now, optimizer)

    def report(self, page: Page, now: float, samples: int, loss: float | None) -> None:
        """The script says that an update is done. What was counted before the first report does not count."""
        slots = page.slots
        if not self._reported:
            self._reported = True
            slots[layout.UPDATES] = 0.0
        counted = slots[layout.SAMPLES] if slots[layout.REPORTED] else 0.0
        self.enter(page, now, False)
        self._credit(page)
        if samples > 0:
            slots[layout.SAMPLES] = counted + samples
        slots[layout.REPORTED] += 1
        self._update(page, now, self._optimizer)
        if loss is not None:
            self.loss = None
            slots[layout.LOSS], slots[layout.LOSS_UPDATE] = loss, slots[layout.UPDATES]

    def enter(self, page: Page, now: float, validates: bool) -> None:
        """The script says that it validates from now on, or that it trains again."""
        if validates and not self._validation_reported:
            self._validation_reported = True
            self._validating = self._validating or now
            page.slots[layout.PHASE] = layout.VALIDATION
        elif self._validation_reported and not validates:
            self._validation_reported = False
            self._train_again(page, now)

    def _update(self, page: Page, now: float, optimizer: Any) -> None:
        slots = page.slots
        self._backwards = 0
        slots[layout.UPDATES] += 1
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
        if now - self._window > _WINDOW_SECONDS:
            self._window = now
            self._read_window(page, optimizer)

    def _read_window(self, page: Page, optimizer: Any) -> None:
        slots = page.slots
        if optimizer is not None:
            rate = optimizer.param_groups[0].get("lr")
            if isinstance(rate, float):
                slots[layout.LEARNING_RATE] = rate
        loss, self.loss = self.loss, None
        if loss is not None and loss.device.type == "cpu" and loss.numel() == 1:
            slots[layout.LOSS] = float(loss)
            slots[layout.LOSS_UPDATE] = slots[layout.UPDATES]
