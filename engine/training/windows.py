"""What a training loop reports: windows of steps, a few a second, and the workers' accounting."""

from __future__ import annotations

import math
import time

import torch

from gputrain.engine.events import Steps
from gputrain.engine.training.batches import BatchSource
from gputrain.engine.training.device import Compute
from gputrain.engine.training.position import Position
from gputrain.engine.training.reporter import Reporter
from gputrain.engine.training.timing import Clock, LossMeter

WINDOW_SECONDS = 0.2
"""Shortest window: five events a second; ten already cost a fast step several percent."""
LOADER_SECONDS = 1.0
_BAD_IMAGES_NAMED = 3


class Diverged(RuntimeError):  # noqa: N818 - reads as what it is
    """The loss is no longer a number."""


class Windows:
    """Collects steps and reports them."""

    def __init__(self, reporter: Reporter, source: BatchSource, compute: Compute) -> None:
        self.clock = Clock(compute)
        self.losses = LossMeter(compute)
        self._compute = compute
        self._reporter = reporter
        self._source = source
        self._steps = self._images = self._bytes = 0
        self._depth = 0
        self._stats_taken = time.perf_counter()

    def step_done(self, loss: torch.Tensor, images: int, copied: int) -> None:
        """Count a step; `loss` stays on the device."""
        self.losses.add(loss)
        self._steps += 1
        self._images += images
        self._bytes += copied
        self._depth += self._source.queue()[0]

    def report(self, position: Position, lr: float, scale: float | None, *, force: bool = False) -> None:
        """Send the window if it is old enough. Raises Diverged when its loss is no number."""
        seconds = self.clock.seconds
        if self._steps and (force or seconds >= WINDOW_SECONDS):
            self.clock.collect()
            loss = self.losses.take()
            self._reporter.steps(self._window(position, lr, scale, loss, seconds))
            self._steps = self._images = self._bytes = self._depth = 0
            self.clock.restart()
            if loss is not None and not math.isfinite(loss):
                raise Diverged(
                    f"the loss is {loss} at step {position.step}; lower lr, clip gradients (clip_grad_norm=1), "
                    "or use precision=bf16 or fp32"
                )
        if force or time.perf_counter() - self._stats_taken >= LOADER_SECONDS:
            self._report_loader()

    def _window(self, position: Position, lr: float, scale: float | None, loss: float | None, seconds: float) -> Steps:
        clock = self.clock
        memory = torch.cuda.memory_stats(self._compute.device) if self._compute.is_gpu else {}
        return Steps(
            step=position.step,
            epoch=position.epoch,
            epoch_step=position.batch,
            images=position.images,
            window_steps=self._steps,
            window_seconds=seconds,
            images_per_second=self._images / seconds,
            loss=loss,
            lr=lr,
            data_wait=clock.wait,
            copy=clock.copy,
            compute=clock.compute,
            other=max(0.0, seconds - clock.wait - (clock.copy or 0.0) - clock.compute),
            first_batch_wait=clock.first_wait,
            loss_scale=scale,
            queue_depth=self._depth / self._steps,
            queue_capacity=self._source.queue()[1],
            vram_allocated=memory.get("allocated_bytes.all.current"),
            vram_reserved=memory.get("reserved_bytes.all.current"),
            vram_peak=memory.get("allocated_bytes.all.peak"),
            alloc_retries=memory.get("num_alloc_retries"),
            bytes_copied=self._bytes if self._compute.is_gpu else None,
        )

    def _report_loader(self) -> None:
        self._stats_taken = time.perf_counter()
        stats = self._source.take_stats()
        self._reporter.send(stats)
        if stats.bad_images:
            named = "; ".join(stats.bad_examples[:_BAD_IMAGES_NAMED])
            more = stats.bad_images - min(stats.bad_images, _BAD_IMAGES_NAMED)
            text = f"{stats.bad_images} unreadable images were replaced by others: {named}"
            self._reporter.notice("warning", text + (f" and {more} more" if more else ""))

    def skip(self) -> None:
        """Forget the time that was just spent on something else than training (validation, a checkpoint, a pause)."""
        self.clock.restart()
