"""Windows of training steps in Keras: losses, timing and GPU memory of the `Steps` events."""

from __future__ import annotations

import time
from typing import Any

from gputrain.engine.datasets.bad_image_list import BadImages
from gputrain.engine.events import Steps
from gputrain.engine.keras import device
from gputrain.engine.keras.data.tf_data_pipeline import Batch, Pipeline
from gputrain.engine.keras.device import Compute
from gputrain.engine.keras.loss_fetcher import FinishedStep, LossFetcher
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.shared_loop import step_windows
from gputrain.engine.shared_loop.epoch_loss import EpochLoss
from gputrain.engine.shared_loop.nonfinite_loss import DoneStep, NonFinitePolicy


class StepWindows(step_windows.StepWindows):
    """See `shared_loop.step_windows`; also collects the losses of the epoch."""

    def __init__(
        self,
        reporter: EventReporter,
        source: Pipeline,
        compute: Compute,
        fetcher: LossFetcher,
        nonfinite: NonFinitePolicy,
        bad_images: BadImages,
    ) -> None:
        super().__init__(reporter, source, bad_images)
        self._compute, self._fetcher, self._nonfinite = compute, fetcher, nonfinite
        self._scaled = compute.precision == "fp16"
        self.epoch = EpochLoss()
        """Of the steps whose losses were fetched."""
        self._done: list[FinishedStep] = []
        self._began = time.perf_counter()

    def step_done(self, batch: Batch) -> None:
        """Count a step."""
        self._steps += 1
        self._images += len(batch)

    def skip(self) -> None:
        """Leave out the time since the last step (validation, a checkpoint, a pause)."""
        self._fetcher.skip()
        self._collect()
        self._steps = self._images = 0
        self._done = []
        self._began = time.perf_counter()

    def fetch_all(self) -> None:
        """Wait for all losses that are still on the device. Raises NonFiniteLossError."""
        self._fetcher.drain()
        self._collect()

    def _seconds(self) -> float:
        return time.perf_counter() - self._began

    def _restart(self, seconds: float) -> None:
        self._steps = self._images = 0
        self._done = []
        self._began += seconds

    def _collect(self) -> None:
        done = self._fetcher.take()
        self._nonfinite.check([DoneStep(step.number, step.loss, step.indices) for step in done])
        self.epoch.add(step.loss for step in done)
        self._done += done

    def _window(self, counts: dict[str, Any], seconds: float, *, force: bool) -> Steps:
        if force:
            self._fetcher.drain()
        self._collect()
        done, memory = self._done, device.memory(self._compute)
        waited, computed = sum(step.waited for step in done), sum(step.compute for step in done)
        return Steps(
            **counts,
            loss=sum(step.loss for step in done) / len(done) if done else None,
            data_wait=waited,
            # The copy is part of the step's graph, which is timed as a whole.
            copy=None,
            compute=computed,
            other=max(0.0, seconds - waited - computed),
            launch_gap=sum(step.gap for step in done) if self._compute.is_gpu else None,
            first_batch_wait=sum(step.waited for step in done if step.first),
            wait_squares=sum(step.waited**2 for step in done),
            loss_scale=done[-1].scale if done and self._scaled else None,
            vram_allocated=memory.current if memory is not None else None,
            vram_peak=memory.peak if memory is not None else None,
        )
