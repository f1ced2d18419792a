"""What a training loop reports: windows of steps, a few a second, and the workers' accounting."""

from __future__ import annotations

import time

import torch

from gputrain.engine.checkpointing.resume_position import ResumePosition
from gputrain.engine.configuration.progressive_resizing import ImageSizeSchedule
from gputrain.engine.datasets.bad_images import BadImages
from gputrain.engine.events import Steps
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.training.optim.loss_meter import LossMeter, LossReading
from gputrain.engine.training.optim.train_step import TrainStep
from gputrain.engine.training.runtime.batch import BatchSource
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.runtime.step_timing import StepClock
from gputrain.engine.training.transforms.device_transforms import DeviceBatch

WINDOW_SECONDS = 0.2
"""Shortest window: five events a second; ten already cost a fast step several percent."""
LOADER_SECONDS = 1.0


class StepWindows:
    """Collects steps and reports them."""

    def __init__(
        self,
        reporter: EventReporter,
        source: BatchSource,
        compute: Compute,
        clock: StepClock,
        meter: LossMeter,
        bad_images: BadImages,
        ranks: int = 1,
    ) -> None:
        """`ranks`: processes that do each step with as many images as this one."""
        self._ranks = ranks
        self._clock = clock
        self._meter = meter
        self._compute = compute
        self._reporter = reporter
        self._source = source
        self._bad_images = bad_images
        self._steps = self._images = self._bytes = 0
        self._depth = 0
        self._image_size: int | None = None
        self._stats_taken = time.perf_counter()

    def new_epoch(self, growth: ImageSizeSchedule, epoch: int) -> None:
        """An epoch begins or goes on; says how large its images are if they grow and these are the first so large."""
        size = growth.at(epoch)
        if growth.start != growth.size and size != self._image_size:
            self._reporter.notice("info", f"training images are {size} × {size} from epoch {epoch + 1} on")
        self._image_size = size

    def step_done(self, loss: torch.Tensor, step: int, batch: DeviceBatch) -> None:
        """Count a step; `loss` stays on the device."""
        self._meter.add(loss, step, batch.indices)
        self._steps += 1
        self._images += len(batch.labels) * self._ranks
        self._bytes += batch.bytes
        self._depth += self._source.queue()[0]

    def update_done(self, skipped: torch.Tensor | None) -> None:
        """The steps since the update before made one; whether it was `skipped` stays on the device."""
        self._meter.update_done(skipped)

    def undo(self, steps: int, images: int) -> None:
        """Forget the last `steps`, of which nothing was reported: they are done again."""
        self._meter.undo(steps)
        self._steps -= steps
        self._images -= images

    def report(self, position: ResumePosition, lr: float, stepper: TrainStep, *, force: bool = False) -> None:
        """Send the window if it is old enough. Raises Diverged when a loss is no number."""
        seconds = self._clock.seconds
        if self._steps and (force or seconds >= WINDOW_SECONDS):
            self._clock.collect()
            self._meter.note(stepper.grad_norm, stepper.loss_scale)
            self._reporter.steps(self._window(position, lr, self._meter.take(), seconds, stepper))
            self._steps = self._images = self._bytes = self._depth = 0
            self._clock.restart()
        if force or time.perf_counter() - self._stats_taken >= LOADER_SECONDS:
            self._report_loader()

    def _window(
        self, position: ResumePosition, lr: float, reading: LossReading | None, seconds: float, stepper: TrainStep
    ) -> Steps:
        clock = self._clock
        memory = torch.cuda.memory_stats(self._compute.device) if self._compute.is_gpu else {}
        return Steps(
            step=position.step,
            epoch=position.epoch,
            epoch_step=position.batch,
            images=position.images,
            window_steps=self._steps,
            window_seconds=seconds,
            images_per_second=self._images / seconds,
            loss=reading.loss if reading else None,
            lr=lr,
            data_wait=clock.wait,
            copy=clock.copy,
            compute=clock.compute,
            other=clock.other(seconds),
            prepare=clock.parts["prepare"],
            forward=clock.parts["forward"],
            backward=clock.parts["backward"],
            update=clock.parts["update"],
            launch_gap=clock.gap,
            exchange=clock.exchange if self._ranks > 1 else None,
            first_batch_wait=clock.first_wait,
            wait_squares=clock.wait_squares,
            grad_norm=reading.grad_norm if reading else None,
            loss_scale=reading.loss_scale if reading else None,
            queue_depth=self._depth / self._steps,
            queue_capacity=self._source.queue()[1],
            vram_allocated=memory.get("allocated_bytes.all.current"),
            vram_reserved=memory.get("reserved_bytes.all.current"),
            vram_peak=memory.get("allocated_bytes.all.peak"),
            alloc_retries=memory.get("num_alloc_retries"),
            batch_parts=stepper.parts,
            bytes_copied=self._bytes if self._compute.is_gpu else None,
            image_size=self._image_size,
        )

    def _report_loader(self) -> None:
        self._stats_taken = time.perf_counter()
        stats = self._source.take_stats()
        self._reporter.send(stats)
        self._bad_images.report(stats, "training")

    def change_source(self, source: BatchSource) -> None:
        """Go on with another loader."""
        self._source = source

    def skip(self) -> None:
        """Forget the time that was just spent on something else than training (validation, a checkpoint, a pause)."""
        self._clock.skip()
