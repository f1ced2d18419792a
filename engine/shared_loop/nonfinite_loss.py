"""Non-finite policy: a NaN or Inf loss ends the run, or its update is skipped and logged (`nonfinite_loss`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gputrain.engine.common.sanitize import plain

MOST_IN_A_ROW = 25
"""Largest number of skipped updates in a row; fp16 may need 16 to find its first loss scale."""
_LOGGED = 100
"""Skipped updates that are logged one by one; after that, each time their number has doubled."""
_SAMPLES_NAMED = 32
_IMAGES_NAMED = 3


class NonFiniteLossError(RuntimeError):
    """The loss is NaN or Inf."""


@dataclass(frozen=True, slots=True)
class DoneStep:
    """A step whose loss was fetched from the device."""

    number: int
    loss: float
    indices: npt.NDArray[np.int64]


class NonFinitePolicy:
    """Checks the steps of a run in order and counts skipped updates."""

    def __init__(
        self, notice: Callable[[str, str], None], name: Callable[[int], str], *, scaled: bool = False, ranks: int = 1
    ) -> None:
        """`name` returns the file name of an image index. `scaled`: infinite gradients of a finite loss are part of
        the search for a loss scale. The indices are those of one rank of `ranks`.
        """
        self._whose = f"; one of {ranks} ranks' share" if ranks > 1 else ""
        self._notice = notice
        self._name = name
        self._scaled = scaled
        self.total = 0
        """Skipped updates, without those of the search for a loss scale."""
        self.in_a_row = 0

    def check(self, steps: Sequence[DoneStep]) -> None:
        """Steps of a run that skips no updates. Raises NonFiniteLossError at the first NaN or Inf loss."""
        bad = _bad(steps)
        if bad is not None:
            raise NonFiniteLossError(
                f"{self._what(bad, steps)}; lower lr, clip gradients (clip_grad_norm=1), use precision=bf16 or fp32, "
                "or skip such updates (nonfinite_loss=skip)"
            )

    def update(self, steps: Sequence[DoneStep], *, skipped: bool) -> None:
        """The steps of one update. Raises NonFiniteLossError when too many updates in a row were skipped."""
        if not skipped:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        bad = _bad(steps)
        if bad is not None or not self._scaled:
            self.total += 1
            if self.total <= _LOGGED:
                self._notice("warning", f"the update of step {steps[-1].number} was skipped: {self._what(bad, steps)}")
            elif self.total & (self.total - 1) == 0:
                self._notice("warning", f"{self.total} updates were skipped so far; the last: {self._what(bad, steps)}")
        if self.in_a_row > MOST_IN_A_ROW:
            raise NonFiniteLossError(
                f"{self.in_a_row} updates in a row were skipped; the last: {self._what(bad, steps)}"
            )

    def _what(self, bad: DoneStep | None, steps: Sequence[DoneStep]) -> str:
        if bad is not None:
            return f"the loss is {bad.loss} at step {bad.number}, on {self._named(bad.indices)}"
        samples = np.concatenate([step.indices for step in steps])
        return f"gradients are NaN or Inf though the loss is finite, on {self._named(samples)}"

    def _named(self, indices: npt.NDArray[np.int64]) -> str:
        names = ", ".join(plain(self._name(int(index)), 100) for index in indices[:_IMAGES_NAMED])
        more = f" and {len(indices) - _IMAGES_NAMED} more" if len(indices) > _IMAGES_NAMED else ""
        numbers = ", ".join(str(index) for index in indices[:_SAMPLES_NAMED])
        return f"{names}{more} (samples {numbers}{', …' if len(indices) > _SAMPLES_NAMED else ''}{self._whose})"


def _bad(steps: Sequence[DoneStep]) -> DoneStep | None:
    return next((step for step in steps if not math.isfinite(step.loss)), None)
