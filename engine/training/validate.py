"""How good the model is on images it was not trained on; sums stay on the device until the end."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import nn

from gputrain.engine.config import RunConfig
from gputrain.engine.events import Phase, Validated
from gputrain.engine.training.badimages import BadImages
from gputrain.engine.training.control import Control
from gputrain.engine.training.device import Compute
from gputrain.engine.training.device_augment import Feed
from gputrain.engine.training.loader import AnyLoader
from gputrain.engine.training.position import Position
from gputrain.engine.training.reporter import Reporter
from gputrain.engine.training.skips import Diverged
from gputrain.engine.training.stepper import Stepper
from gputrain.engine.training.tasks.task import Task, is_better
from gputrain.engine.training.timing import Clock


@dataclass(slots=True)
class Validation:
    """Tries the model on the validation images of a run, as often as it is asked to."""

    loader: AnyLoader
    feed: Feed
    compute: Compute
    task: Task
    control: Control
    reporter: Reporter
    bad_images: BadImages
    config: RunConfig
    most: int = 1 << 30
    """Samples that are computed at once at most, memory having run out with more."""

    def judge(self, stepper: Stepper, where: Position) -> bool:
        """Try the model after the epoch that has just ended; returns whether it was never better.

        Where the run is asked to stop meanwhile, `where` stays as it is. Raises Diverged.
        """
        self.reporter.phase(Phase.VALIDATING)
        began = time.perf_counter()
        found = self._metrics(stepper)
        self.bad_images.tell(self.loader.take_stats(), "validation")
        if found is None:
            return False
        metrics, images = found
        where.unvalidated = False
        if not math.isfinite(metrics["loss"]):
            raise Diverged(
                f"the validation loss is {metrics['loss']} after step {where.step}; lower lr, or clip gradients"
            )
        judged = metrics[self.task.metric]
        best = is_better(self.task, judged, where.best)
        where.best, where.worse = (judged, 0) if best else (where.best, where.worse + 1)
        self.reporter.send(
            Validated(
                epoch=where.epoch - 1,
                step=where.step,
                metrics=metrics,
                metric=self.task.metric,
                best=best,
                images=images,
                seconds=time.perf_counter() - began,
            )
        )
        return best

    def _metrics(self, stepper: Stepper) -> tuple[dict[str, float], int] | None:
        """The metrics over all images, and their number; None if the run was asked to stop meanwhile."""
        images, scores, network = 0, self.task.scores(), stepper.evaluated
        data = self.config.data
        self.most = min(self.most, stepper.part_size(data.val_batch_size or data.batch_size))
        network.eval()
        with torch.inference_mode():
            for number, batch in enumerate(self.feed.batches(self.loader.epoch(0), Clock(self.compute)), start=1):
                prepared, done = self.feed.prepare(batch), 0
                while done < len(prepared.targets):
                    part = prepared.part(done, self.most)
                    outputs = self._outputs(network, part.images)
                    if outputs is None:
                        self._divide()
                        continue
                    scores.add(outputs, part.targets)
                    done += len(part.targets)
                images += len(batch.labels)
                self.reporter.progress(number, len(self.loader), "batches")
                self.control.poll()
                self.control.wait_while_paused(self.reporter.phase, Phase.VALIDATING)
                if self.control.stop:
                    return None
        return scores.metrics(), images

    def _outputs(self, network: nn.Module, images: torch.Tensor) -> torch.Tensor | None:
        """In float32; None where memory is too small for so many."""
        try:
            with self.compute.autocast():
                outputs: torch.Tensor = network(images)
            return outputs.float()
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
