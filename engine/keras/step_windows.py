"""What the loop of Keras reports: windows of steps, a few a second, and what is known of the workers."""

from __future__ import annotations

import time

from gputrain.engine.checkpointing.resume_position import ResumePosition
from gputrain.engine.datasets.bad_images import BadImages
from gputrain.engine.events import Steps
from gputrain.engine.keras import device
from gputrain.engine.keras.data.tf_data_pipeline import Batch, Pipeline
from gputrain.engine.keras.device import Compute
from gputrain.engine.keras.loss_fetcher import FinishedStep, LossFetcher
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.shared_loop.nonfinite_loss import DoneStep, NonFinitePolicy

WINDOW_SECONDS = 0.2
"""Shortest window, as in torch."""
LOADER_SECONDS = 1.0


class StepWindows:
    """Collects steps and reports them; keeps the losses of the epoch."""

    def __init__(
        self,
        reporter: EventReporter,
        source: Pipeline,
        where: Compute,
        fetcher: LossFetcher,
        skips: NonFinitePolicy,
        bad: BadImages,
    ) -> None:
        """`skips` judges losses that are no numbers."""
        self._reporter, self._source, self._compute = reporter, source, where
        self._fetcher, self._skips, self._bad = fetcher, skips, bad
        self._scaled = where.precision == "fp16"
        self.epoch_sum = 0.0
        """Sum of the losses of this epoch's steps that have been fetched, and how many they are."""
        self.epoch_steps = 0
        self._steps = self._images = 0
        self._done: list[FinishedStep] = []
        self._began = self._stats_taken = time.perf_counter()

    def step_done(self, batch: Batch) -> None:
        """Count a step."""
        self._steps += 1
        self._images += len(batch)

    def skip(self) -> None:
        """Forget the time that was just spent on something else than training (validation, a checkpoint, a pause)."""
        self._fetcher.skip()
        self._collect()
        self._steps = self._images = 0
        self._done = []
        self._began = time.perf_counter()

    def report(self, position: ResumePosition, lr: float, *, force: bool = False) -> None:
        """Send the window if it is old enough. Raises Diverged when a loss is no number."""
        now = time.perf_counter()
        if self._steps and (force or now - self._began >= WINDOW_SECONDS):
            if force:
                self._fetcher.drain()
            self._collect()
            self._reporter.steps(self._window(position, lr, now - self._began))
            self._steps = self._images = 0
            self._done = []
            self._began = now
        if force or now - self._stats_taken >= LOADER_SECONDS:
            self._stats_taken = now
            stats = self._source.take_stats()
            self._reporter.send(stats)
            self._bad.report(stats, "training")

    def fetch_all(self) -> None:
        """Wait for all losses that are still on the device. Raises Diverged."""
        self._fetcher.drain()
        self._collect()

    def take_epoch(self) -> float | None:
        """Mean loss of the epoch's steps; waits for the device. Raises Diverged."""
        self.fetch_all()
        mean = self.epoch_sum / self.epoch_steps if self.epoch_steps else None
        self.epoch_sum, self.epoch_steps = 0.0, 0
        return mean

    def _collect(self) -> None:
        done = self._fetcher.take()
        self._skips.check([DoneStep(step.number, step.loss, step.indices) for step in done])
        for step in done:
            self.epoch_sum += step.loss
        self.epoch_steps += len(done)
        self._done += done

    def _window(self, position: ResumePosition, lr: float, seconds: float) -> Steps:
        done, memory = self._done, device.memory(self._compute)
        waited, computed = sum(step.waited for step in done), sum(step.compute for step in done)
        return Steps(
            step=position.step,
            epoch=position.epoch,
            epoch_step=position.batch,
            images=position.images,
            window_steps=self._steps,
            window_seconds=seconds,
            images_per_second=self._images / seconds,
            loss=sum(step.loss for step in done) / len(done) if done else None,
            lr=lr,
            data_wait=waited,
            # Part of the step's graph, which does not tell its parts.
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
