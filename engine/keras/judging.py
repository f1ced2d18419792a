"""How good the network is on images it was not trained on; sums stay on the device until the end."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from gputrain.engine.events import Phase, Validated
from gputrain.engine.keras.pipeline import Pipeline
from gputrain.engine.keras.stepper import Stepper, metrics_of
from gputrain.engine.position import Position
from gputrain.engine.training.badimages import BadImages
from gputrain.engine.training.control import Control
from gputrain.engine.training.reporter import Reporter
from gputrain.engine.training.skips import Diverged

METRIC = "accuracy"


@dataclass(frozen=True, slots=True)
class Validation:
    """Tries the network on the validation images of a run, as often as it is asked to."""

    source: Pipeline
    classes: int
    control: Control
    reporter: Reporter
    bad_images: BadImages

    def judge(self, stepper: Stepper, where: Position) -> bool:
        """Try the network after the epoch that has just ended; returns whether it was never better.

        Where the run is asked to stop meanwhile, `where` stays as it is. Raises Diverged.
        """
        self.reporter.phase(Phase.VALIDATING)
        began = time.perf_counter()
        found = self._metrics(stepper)
        self.bad_images.tell(self.source.take_stats(), "validation")
        if found is None:
            return False
        metrics, images = found
        where.unvalidated = False
        if not math.isfinite(metrics["loss"]):
            raise Diverged(
                f"the validation loss is {metrics['loss']} after step {where.step}; lower lr, or clip gradients"
            )
        best = where.best is None or metrics[METRIC] > where.best
        where.best, where.worse = (metrics[METRIC], 0) if best else (where.best, where.worse + 1)
        self.reporter.send(
            Validated(
                epoch=where.epoch - 1,
                step=where.step,
                metrics=metrics,
                metric=METRIC,
                best=best,
                images=images,
                seconds=time.perf_counter() - began,
            )
        )
        return best

    def _metrics(self, stepper: Stepper) -> tuple[dict[str, float], int] | None:
        """The metrics over all images, and their number; None if the run was asked to stop meanwhile."""
        images, sums = 0, None
        for number, batch in enumerate(self.source.epoch(0), start=1):
            found = stepper.sums(batch)
            sums = found if sums is None else sums + found
            images += len(batch)
            self.reporter.progress(number, len(self.source), "batches")
            self.control.poll()
            self.control.wait_while_paused(self.reporter.phase, Phase.VALIDATING)
            if self.control.stop:
                return None
        return metrics_of(sums, images, self.classes), images
