"""Validation of a PyTorch model: metrics over the validation images; sums stay on the device until the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from gputrain.engine.checkpointing.resume_position import ResumePosition
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets.bad_image_list import BadImages
from gputrain.engine.events import Phase
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.shared_loop import epoch_end
from gputrain.engine.training.distributed.process_group import SingleProcess
from gputrain.engine.training.loader.make_loader import AnyLoader
from gputrain.engine.training.optim.train_step import TrainStep
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.runtime.step_timing import StepClock
from gputrain.engine.training.tasks.task import Scores, Task, is_better
from gputrain.engine.training.transforms.device_transforms import DeviceBatch, DevicePrefetcher


@dataclass(slots=True)
class Validation:
    """Validates the model on the validation images of a run."""

    loader: AnyLoader
    feed: DevicePrefetcher
    compute: Compute
    task: Task
    control: TrainerControl
    reporter: EventReporter
    bad_images: BadImages
    config: RunConfig
    ranks: SingleProcess
    max_samples: int = 1 << 30
    """Largest number of samples computed at once; halved each time GPU memory runs out."""

    def validate(self, stepper: TrainStep, where: ResumePosition) -> bool:
        """Validate after the epoch that just ended; returns whether the metric is the best so far.

        A requested stop interrupts the validation and leaves `where` unchanged. Raises NonFiniteLossError.
        """
        self.reporter.phase(Phase.VALIDATING)
        began = time.perf_counter()
        self.ranks.average_buffers([stepper.evaluated])
        found = self._metrics(stepper)
        self.bad_images.report(self.loader.take_stats(), "validation")
        if found is None:
            return False
        metrics, images = found
        best = is_better(self.task, metrics[self.task.metric], where.best)
        seconds = time.perf_counter() - began
        epoch_end.validation_result(
            self.reporter, where, epoch_end.ValidationResult(metrics, self.task.metric, best, images, seconds)
        )
        return best

    def _metrics(self, stepper: TrainStep) -> tuple[dict[str, float], int] | None:
        """Metrics over all images, and the number of images; None if a stop was requested.

        Each rank computes its share of the batches; all ranks compute the metrics from the sums of all.
        """
        found = self._sums(stepper)
        if self.ranks.count == 1:
            return None if found is None else (found[0].metrics(), found[1])
        of_all = self.ranks.gather(None if found is None else (found[0].state(), found[1]))
        scores, images = self.task.scores(), 0
        for sums in of_all:
            if sums is None:
                return None
            scores.merge(sums[0])
            images += sums[1]
        return scores.metrics(), images

    def _sums(self, stepper: TrainStep) -> tuple[Scores, int] | None:
        """This rank's sums and number of images; None if a stop was requested."""
        with stepper.gathered() as network:
            return self._sums_of(network, stepper)

    def _sums_of(self, network: nn.Module, stepper: TrainStep) -> tuple[Scores, int] | None:
        images, scores = 0, self.task.scores()
        data = self.config.data
        self.max_samples = min(self.max_samples, stepper.part_size(data.val_batch_size or data.batch_size))
        network.eval()
        with torch.inference_mode():
            for number, batch in enumerate(self._copied(), start=1):
                done, samples = 0, len(batch.labels) // self.task.group
                while done < samples:
                    until = min(done + self.max_samples, samples)
                    found = self._outputs(network, batch, done, until)
                    if found is None:
                        self._halve()
                        continue
                    scores.add(*found)
                    done = until
                images += len(batch.labels)
                self.reporter.progress(number, len(self.loader), "batches")
                self.control.poll()
                self.control.wait_while_paused(self.reporter.phase, Phase.VALIDATING)
                if self.control.stop:
                    return None
        return scores, images

    def _copied(self) -> Iterator[DeviceBatch]:
        """The batches on the device. A batch that did not fit into GPU memory is copied again with smaller parts."""
        begun = 0
        while begun < len(self.loader):
            with contextlib.closing(self.feed.batches(self.loader.epoch(0, begun), StepClock(self.compute))) as batches:
                try:
                    for batch in batches:
                        begun += 1
                        yield batch
                    return
                except torch.OutOfMemoryError:
                    pass
            self._halve()

    def _outputs(
        self, network: nn.Module, batch: DeviceBatch, start: int, end: int
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """float32 outputs and targets of the samples `start` to `end`; None if GPU memory ran out."""
        try:
            part = batch.plain_part(start * self.task.group, end * self.task.group)
            prepared = self.feed.prepare(part)
            with self.compute.autocast():
                outputs: torch.Tensor = network(prepared.images)
            return outputs.float(), prepared.targets
        except torch.OutOfMemoryError:
            return None

    def _halve(self) -> None:
        """Halve the number of samples computed at once. Raises RuntimeError if that is not possible."""
        if self.compute.is_gpu:
            torch.cuda.empty_cache()
        if not self.config.speed.oom_fallback or self.max_samples == 1:
            raise RuntimeError(
                f"GPU memory is too small to validate {self.max_samples} samples at once; "
                "use a smaller val_batch_size, model or image_size"
            )
        self.max_samples = -(-self.max_samples // 2)
        self.reporter.notice(
            "warning",
            f"GPU memory ran out in validation: at most {self.max_samples} samples are computed at once from now on",
        )
