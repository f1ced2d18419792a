"""Estimates the remaining time from the newest steps and the mean time of validations and checkpoints. Pure."""

from __future__ import annotations

import math

from gputrain.engine.events import AnyEvent, CheckpointSaved, EpochEnded, ModelReady, Steps, Validated
from gputrain.tui.state import script_values
from gputrain.tui.state.run_snapshot import Snapshot

SECONDS = 60.0
"""Time constant of the exponential average of step times, in seconds."""


class Eta:
    """Takes the events of a run in order."""

    def __init__(self) -> None:
        self._seconds = self._steps = 0.0
        self._windows = 0
        self._stalled = 0.0
        """Seconds spent in validations and checkpoints."""
        self._epochs = 0
        self._pass_from = (-1, 0, 0.0)
        """Epoch, batch and time of the first steps seen in the present epoch."""

    def update(self, event: AnyEvent) -> None:
        """Take one event."""
        match event:
            case ModelReady():
                self._windows = 0
            case Steps():
                self._add_steps(event)
            case EpochEnded():
                self._epochs += 1
            case Validated():
                self._stalled += event.seconds
            case CheckpointSaved():
                self._stalled += event.held or 0.0
            case _:
                pass

    def _add_steps(self, event: Steps) -> None:
        if event.epoch != self._pass_from[0] or event.epoch_step < self._pass_from[1]:
            self._pass_from = (event.epoch, event.epoch_step, event.mono)
        if event.window_steps <= 0 or event.window_seconds <= 0:
            return
        self._windows += 1
        # The first window of a process contains the step that selects or compiles kernels: drop it.
        kept = math.exp(-event.window_seconds / SECONDS) if self._windows != 2 else 0.0
        self._seconds = self._seconds * kept + event.window_seconds
        self._steps = self._steps * kept + event.window_steps

    def _of_pass(self, now: Snapshot) -> float | None:
        """Seconds to the end of a script's pass over its loader, at the pace of this pass so far."""
        total = script_values.batches_of_epoch(now)
        done = now.steps.epoch_step - self._pass_from[1] if now.steps is not None else 0
        if not total or now.steps is None or done <= 0:
            return None
        return max(0, total - now.steps.epoch_step) * (now.steps.mono - self._pass_from[2]) / done

    def left(self, now: Snapshot) -> tuple[float | None, float | None]:
        """Seconds to the end of the epoch's steps, and to the end of the run; None if unknown."""
        if now.steps is None or not self._steps or now.outcome is not None:
            return None, None
        if now.is_script:
            return self._of_pass(now), None
        per_step = self._seconds / self._steps
        batches = now.data.batches_per_epoch if now.data is not None else 0
        epoch = max(0, batches - now.steps.epoch_step) * per_step if batches else None
        if now.model is None or not now.model.total_steps:
            return epoch, None
        steps = max(0, now.model.total_steps - now.steps.step)
        stalls = self._stalled / self._epochs * math.ceil(steps / batches) if self._epochs and batches else 0.0
        return epoch, steps * per_step + (stalls if steps else 0.0)
