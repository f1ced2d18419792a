"""Sums and maxima over a whole run, for its summary. Pure."""

from __future__ import annotations

from gputrain.engine.events import AnyEvent, HardwareSample, LoaderStats, Steps
from gputrain.tui.snapshot import Totals

_MAX_GAP = 60.0
"""Longest interval that one sample stands for; after a suspend of the host nobody knows what happened."""


class Tally:
    """Takes a run's events in order."""

    def __init__(self) -> None:
        self._seq = 0
        self._steps = 0
        self._images = 0.0
        self._seconds = self._wait = self._first_wait = self._compute = self._other = 0.0
        self._copy: float | None = None
        self._allocated: int | None = None
        self._held: int | None = None
        self._joules: float | None = None
        self._power_seconds = 0.0
        self._throttled: dict[str, float] = {}
        self._bad_images = self._lost = self._dropped = 0

    @property
    def other_per_step(self) -> float:
        """Mean seconds of a step that went into checkpoints, validation and logging."""
        return self._other / self._steps if self._steps else 0.0

    def see(self, event: AnyEvent) -> None:
        """Count one event."""
        # Events that were never recorded (scripted ones, say) have no number and leave no gaps.
        if event.seq > self._seq + 1 and self._seq:
            self._lost += event.seq - self._seq - 1
        self._seq = max(self._seq, event.seq)
        match event:
            case Steps():
                self._see_steps(event)
            case HardwareSample():
                self._see_hardware(event)
            case LoaderStats():
                self._bad_images += event.bad_images
            case _:
                pass

    def _see_steps(self, event: Steps) -> None:
        self._steps += event.window_steps
        self._images += event.images_per_second * event.window_seconds
        self._seconds += event.window_seconds
        self._wait += event.data_wait
        self._first_wait += event.first_batch_wait
        self._compute += event.compute
        self._other += event.other
        self._dropped += event.dropped
        if event.copy is not None:
            self._copy = (self._copy or 0.0) + event.copy
        self._allocated = _larger(self._allocated, event.vram_peak)

    def _see_hardware(self, event: HardwareSample) -> None:
        seconds = min(max(event.interval, 0.0), _MAX_GAP)
        for gpu in event.gpus:
            self._held = _larger(self._held, gpu.memory_used)
        for reason in {reason for gpu in event.gpus for reason in gpu.throttle}:
            self._throttled[reason] = self._throttled.get(reason, 0.0) + seconds
        watts = [gpu.power for gpu in event.gpus if gpu.power is not None]
        if watts:
            self._joules = (self._joules or 0.0) + sum(watts) * seconds
            self._power_seconds += seconds

    def totals(self) -> Totals:
        """The sums so far."""
        return Totals(
            steps=self._steps,
            images=self._images,
            step_seconds=self._seconds,
            data_wait=self._wait,
            first_batch_wait=self._first_wait,
            copy=self._copy,
            compute=self._compute,
            other=self._other,
            peak_vram=self._held if self._held is not None else self._allocated,
            joules=self._joules,
            power_seconds=self._power_seconds,
            throttled=dict(sorted(self._throttled.items())),
            bad_images=self._bad_images,
            lost=self._lost,
            dropped=self._dropped,
        )


def _larger(known: int | None, value: int | None) -> int | None:
    return value if known is None else known if value is None else max(known, value)
