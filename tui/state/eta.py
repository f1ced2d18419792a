"""How long a run still takes: its newest steps go on, and so do the validations and checkpoints of its epochs. Pure."""

from __future__ import annotations

import math

from gputrain.engine.events import AnyEvent, CheckpointSaved, EpochEnded, ModelReady, Steps, Validated
from gputrain.tui.state.run_snapshot import Snapshot

SECONDS = 60.0
"""Steps longer ago than this weigh e times less, and so on."""


class Eta:
    """Fed with the run's events in order."""

    def __init__(self) -> None:
        self._seconds = self._steps = 0.0
        self._windows = 0
        self._stalled = 0.0
        """Seconds of validations and checkpoints, in which nothing was trained."""
        self._epochs = 0

    def see(self, event: AnyEvent) -> None:
        """Learn from an event."""
        match event:
            case ModelReady():
                self._windows = 0
            case Steps():
                self._see_steps(event)
            case EpochEnded():
                self._epochs += 1
            case Validated():
                self._stalled += event.seconds
            case CheckpointSaved():
                self._stalled += event.held or 0.0
            case _:
                pass

    def _see_steps(self, event: Steps) -> None:
        if event.window_steps <= 0 or event.window_seconds <= 0:
            return
        self._windows += 1
        # The first window of a process has the step in which kernels are chosen or compiled: it stands for nothing.
        kept = math.exp(-event.window_seconds / SECONDS) if self._windows != 2 else 0.0
        self._seconds = self._seconds * kept + event.window_seconds
        self._steps = self._steps * kept + event.window_steps

    def left(self, now: Snapshot) -> tuple[float | None, float | None]:
        """Seconds to the end of the epoch's steps, and of the run; None where that is not known."""
        if now.steps is None or not self._steps or now.outcome is not None:
            return None, None
        per_step = self._seconds / self._steps
        batches = now.data.batches_per_epoch if now.data is not None else 0
        epoch = max(0, batches - now.steps.epoch_step) * per_step if batches else None
        if now.model is None or not now.model.total_steps:
            return epoch, None
        steps = max(0, now.model.total_steps - now.steps.step)
        stalls = self._stalled / self._epochs * math.ceil(steps / batches) if self._epochs and batches else 0.0
        return epoch, steps * per_step + (stalls if steps else 0.0)
