"""How good the network is on images it was not trained on; sums stay on the device until the end."""

from __future__ import annotations

import time
from dataclasses import dataclass

from gputrain.engine.checkpointing.resume_position import ResumePosition
from gputrain.engine.datasets.bad_images import BadImages
from gputrain.engine.events import Phase
from gputrain.engine.keras.data.tf_data_pipeline import Pipeline
from gputrain.engine.keras.train_step import TrainStep, metrics_of
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.shared_loop import epoch_end

METRIC = "accuracy"


@dataclass(frozen=True, slots=True)
class Validation:
    """Tries the network on the validation images of a run, as often as it is asked to."""

    source: Pipeline
    classes: int
    control: TrainerControl
    reporter: EventReporter
    bad_images: BadImages

    def judge(self, stepper: TrainStep, where: ResumePosition) -> bool:
        """Try the network after the epoch that has just ended; returns whether it was never better.

        Where the run is asked to stop meanwhile, `where` stays as it is. Raises Diverged.
        """
        self.reporter.phase(Phase.VALIDATING)
        began = time.perf_counter()
        found = self._metrics(stepper)
        self.bad_images.report(self.source.take_stats(), "validation")
        if found is None:
            return False
        metrics, images = found
        best = where.best is None or metrics[METRIC] > where.best
        seconds = time.perf_counter() - began
        epoch_end.validation_result(
            self.reporter, where, epoch_end.ValidationResult(metrics, METRIC, best, images, seconds)
        )
        return best

    def _metrics(self, stepper: TrainStep) -> tuple[dict[str, float], int] | None:
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
