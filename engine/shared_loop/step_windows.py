"""Windows of training steps: a few `Steps` events a second instead of one per step, for both engines."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any, Protocol

from gputrain.engine.checkpointing.resume_position import ResumePosition
from gputrain.engine.datasets.bad_image_list import BadImages
from gputrain.engine.events import LoaderStats, Steps
from gputrain.engine.processes.event_reporter import EventReporter

WINDOW_SECONDS = 0.2
"""Shortest window: five events a second. Ten a second slow down a fast step by several percent."""
LOADER_SECONDS = 1.0
"""Interval of the `LoaderStats` events."""


class StatsSource(Protocol):
    """A data loader that counts what its workers do."""

    def take_stats(self) -> LoaderStats:
        """Statistics since the last call."""
        ...


class StepWindows(ABC):
    """Counts steps and sends them as windows. An engine adds its losses and its timing."""

    def __init__(self, reporter: EventReporter, source: StatsSource, bad_images: BadImages) -> None:
        self._reporter = reporter
        self._bad_images = bad_images
        self._stats_source = source
        self._steps = self._images = 0
        self._stats_taken = time.perf_counter()

    def report(self, position: ResumePosition, lr: float, *, force: bool = False) -> None:
        """Send the window if it is at least `WINDOW_SECONDS` long. Raises NonFiniteLossError for a NaN or Inf loss."""
        seconds = self._seconds()
        if self._steps and (force or seconds >= WINDOW_SECONDS):
            counts = {
                "step": position.step,
                "epoch": position.epoch,
                "epoch_step": position.batch,
                "images": position.images,
                "window_steps": self._steps,
                "window_seconds": seconds,
                "images_per_second": self._images / seconds,
                "lr": lr,
            }
            self._reporter.steps(self._window(counts, seconds, force=force))
            self._restart(seconds)
        if force or time.perf_counter() - self._stats_taken >= LOADER_SECONDS:
            self._stats_taken = time.perf_counter()
            stats = self._stats_source.take_stats()
            self._reporter.send(stats)
            self._bad_images.report(stats, "training")

    @abstractmethod
    def _seconds(self) -> float:
        """Length of the present window so far."""

    @abstractmethod
    def _window(self, counts: dict[str, Any], seconds: float, *, force: bool) -> Steps:
        """The event: `counts` with the engine's losses and timing. With `force`, wait for losses on the device."""

    @abstractmethod
    def _restart(self, seconds: float) -> None:
        """Start a new window right after the last one, which took `seconds`."""
