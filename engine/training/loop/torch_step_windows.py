"""Windows of training steps in PyTorch: losses, timing, GPU memory and queue of the `Steps` events."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gputrain.engine.configuration.progressive_resizing import ImageSizeSchedule
from gputrain.engine.datasets.bad_image_list import BadImages
from gputrain.engine.events import Steps
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.shared_loop import step_windows
from gputrain.engine.training.optim.loss_meter import LossMeter
from gputrain.engine.training.optim.train_step import TrainStep
from gputrain.engine.training.runtime.batch import BatchSource
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.runtime.step_timing import StepClock
from gputrain.engine.training.transforms.device_transforms import DeviceBatch


class StepWindows(step_windows.StepWindows):
    """See `shared_loop.step_windows`."""

    def __init__(
        self,
        reporter: EventReporter,
        source: BatchSource,
        compute: Compute,
        clock: StepClock,
        meter: LossMeter,
        stepper: TrainStep,
        bad_images: BadImages,
        ranks: int = 1,
    ) -> None:
        """`ranks`: number of processes."""
        super().__init__(reporter, source, bad_images)
        self._ranks = ranks
        self._clock, self._meter, self._stepper = clock, meter, stepper
        self._compute = compute
        self._source = source
        self._bytes = self._depth = 0
        self._image_size: int | None = None

    def new_epoch(self, growth: ImageSizeSchedule, epoch: int) -> None:
        """An epoch starts or continues. With progressive resizing, log each new image size."""
        size = growth.at(epoch)
        if growth.start != growth.size and size != self._image_size:
            self._reporter.notice("info", f"training images are {size} × {size} from epoch {epoch + 1} on")
        self._image_size = size

    def step_done(self, loss: torch.Tensor, step: int, batches: int, batch: DeviceBatch | None, images: int) -> None:
        """Count a step of `batches` on all ranks, of `images` each; `batch`: this rank's, if it had one.

        `loss` stays on the device.
        """
        self._meter.add(loss, step, batch.indices if batch is not None else np.empty(0, np.int64), batches)
        self._steps += 1
        self._images += batches * images
        self._bytes += batch.bytes if batch is not None else 0
        self._depth += self._source.queue()[0]

    def update_done(self, skipped: torch.Tensor | None) -> None:
        """The steps since the last update made one. `skipped` (bool) stays on the device."""
        self._meter.update_done(skipped)

    def undo(self, steps: int, images: int) -> None:
        """Forget the last `steps`, which were not reported yet and are repeated."""
        self._meter.undo(steps)
        self._steps -= steps
        self._images -= images

    def _seconds(self) -> float:
        return self._clock.seconds

    def _window(self, counts: dict[str, Any], seconds: float, *, force: bool) -> Steps:
        self._meter.note(self._stepper.grad_norm, self._stepper.loss_scale)
        reading = self._meter.take(wait=force)
        self._clock.collect()
        clock = self._clock
        memory = torch.cuda.memory_stats(self._compute.device) if self._compute.is_gpu else {}
        return Steps(
            **counts,
            loss=reading.loss if reading else None,
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
            batch_parts=self._stepper.parts,
            bytes_copied=self._bytes if self._compute.is_gpu else None,
            image_size=self._image_size,
        )

    def _restart(self, seconds: float) -> None:
        self._steps = self._images = self._bytes = self._depth = 0
        self._clock.restart()

    def change_source(self, source: BatchSource) -> None:
        """Report the statistics of another data loader from now on."""
        self._source = self._stats_source = source

    def skip(self) -> None:
        """Leave out the time since the last step (validation, a checkpoint, a pause), and steps not yet reported."""
        self._restart(0.0)
        self._clock.skip()
