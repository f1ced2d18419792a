"""How good the model is on images it was not trained on; sums stay on the device until the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from gputrain.engine.checkpointing.resume_position import ResumePosition
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.datasets.bad_images import BadImages
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
    """Tries the model on the validation images of a run, as often as it is asked to."""

    loader: AnyLoader
    feed: DevicePrefetcher
    compute: Compute
    task: Task
    control: TrainerControl
    reporter: EventReporter
    bad_images: BadImages
    config: RunConfig
    ranks: SingleProcess
    most: int = 1 << 30
    """Samples that are computed at once at most, memory having run out with more."""

    def judge(self, stepper: TrainStep, where: ResumePosition) -> bool:
        """Try the model after the epoch that has just ended; returns whether it was never better.

        Where the run is asked to stop meanwhile, `where` stays as it is. Raises Diverged.
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
        """The metrics over all images, and their number; None if the run was asked to stop meanwhile.

        Each rank computes its share of the batches, and all of them the metrics from the sums of all.
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
        """This rank's sums and images; None if it was asked to stop meanwhile."""
        images, scores, network = 0, self.task.scores(), stepper.evaluated
        data = self.config.data
        self.most = min(self.most, stepper.part_size(data.val_batch_size or data.batch_size))
        network.eval()
        with torch.inference_mode():
            for number, batch in enumerate(self._copied(), start=1):
                done, samples = 0, len(batch.labels) // self.task.group
                while done < samples:
                    until = min(done + self.most, samples)
                    found = self._outputs(network, batch, done, until)
                    if found is None:
                        self._divide()
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
        """The batches on the device. One that found no room there is copied again when less is computed at once."""
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
            self._divide()

    def _outputs(
        self, network: nn.Module, batch: DeviceBatch, start: int, end: int
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Outputs in float32 and targets of the samples from `start` to `end`; None where memory is too small."""
        try:
            part = batch.plain_part(start * self.task.group, end * self.task.group)
            prepared = self.feed.prepare(part)
            with self.compute.autocast():
                outputs: torch.Tensor = network(prepared.images)
            return outputs.float(), prepared.targets
        except torch.OutOfMemoryError:
            return None

    def _divide(self) -> None:
        """Compute half as many samples at once from now on. Raises RuntimeError if they are few enough."""
        if self.compute.is_gpu:
            torch.cuda.empty_cache()
        if not self.config.speed.oom_fallback or self.most == 1:
            raise RuntimeError(
                f"the GPU's memory is too small to validate {self.most} samples at once; "
                "a smaller val_batch_size, model or image_size need less"
            )
        self.most = -(-self.most // 2)
        self.reporter.notice(
            "warning", f"GPU memory ran out in validation: at most {self.most} samples are computed at once from now on"
        )
