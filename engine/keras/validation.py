"""Validation of a Keras network: metrics over the validation images; sums stay on the device until the end."""

from __future__ import annotations

import time
from dataclasses import dataclass

from gputrain.engine.checkpointing.resume_position import ResumePosition
from gputrain.engine.datasets.bad_image_list import BadImages
from gputrain.engine.events import Phase
from gputrain.engine.keras.data.tf_data_pipeline import Pipeline
from gputrain.engine.keras.train_step import TrainStep, metrics_of
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.shared_loop import epoch_end

METRIC = "accuracy"


@dataclass(frozen=True, slots=True)
class Validation:
    """Validates the network on the validation images of a run."""

    source: Pipeline
    classes: int
    control: TrainerControl
    reporter: EventReporter
    bad_images: BadImages

    def validate(self, stepper: TrainStep, where: ResumePosition) -> bool:
        """Validate after the epoch that just ended; returns whether the metric is the best so far.

        A requested stop interrupts the validation and leaves `where` unchanged. Raises NonFiniteLossError.
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
        """Metrics over all images, and the number of images; None if a stop was requested."""
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
