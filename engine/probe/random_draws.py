"""Whether making a batch draws from a global random generator: then other workers make other samples of the same data.

Only states are compared, of the first few batches that a process makes; nothing is drawn.
"""

from __future__ import annotations

import pickle
import random
import sys
from typing import Any

from . import layout
from .page import Page, Probe

_BATCHES = 4
"""Batches that are looked at; an augmentation draws for each sample."""


class RandomDraws:
    """Of one process that makes batches."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self.left = _BATCHES
        """Batches that are still looked at."""

    def before(self) -> list[Any] | None:
        """The states before a batch is made; None once enough batches were looked at."""
        if self.left <= 0 or "random" in self._probe.off:
            return None
        self.left -= 1
        return self._states()

    def after(self, page: Page, before: list[Any]) -> None:
        """Compare the states after the batch with those `before` it."""
        now = self._states()
        # A package that was imported meanwhile has no state from before.
        if now is not None and any(before[at] is not None and before[at] != now[at] for at in range(len(now))):
            page.slots[layout.DRAWS] = 1.0
            self.left = 0

    def _states(self) -> list[Any] | None:
        try:
            numpy = sys.modules.get("numpy.random")
            states: list[Any] = [random.getstate(), bytes(sys.modules["torch"].get_rng_state().tolist())]
            states.append(pickle.dumps(numpy.get_state()) if numpy is not None else None)
            return states
        except Exception as error:  # noqa: BLE001 - the script comes first
            self._probe.failed("random", error)
            return None
