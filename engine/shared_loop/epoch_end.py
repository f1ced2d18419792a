"""What is due when: the end of an epoch, its validation and checkpoint, for either engine. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gputrain.engine.checkpointing.checkpoint_saver import Kind
from gputrain.engine.checkpointing.resume_position import ResumePosition
from gputrain.engine.configuration.run_config import CheckpointConfig
from gputrain.engine.events import EpochEnded, Validated
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.shared_loop.nonfinite_loss import NonFiniteLossError


def end_epoch(
    reporter: EventReporter, where: ResumePosition, seconds: float, images: int, train_loss: float | None
) -> None:
    """Tell of the epoch that `where` is at the end of, and go on to the next one."""
    reporter.send(
        EpochEnded(
            epoch=where.epoch,
            step=where.step,
            seconds=seconds,
            images_per_second=images / seconds,
            train_loss=train_loss,
        )
    )
    where.epoch += 1


def validation_due(settings: CheckpointConfig, where: ResumePosition, total_steps: int) -> bool:
    """Whether the model is to be tried after the epoch that has just ended; after the last one in any case."""
    return where.step >= total_steps or where.epoch % settings.validate_epochs == 0


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """What came of a validation."""

    metrics: dict[str, float]
    """``loss`` among them."""
    metric: str
    """The one that decides."""
    best: bool
    """Whether the model was never better."""
    images: int
    seconds: float


def validation_result(reporter: EventReporter, where: ResumePosition, found: ValidationResult) -> None:
    """Remember and tell a validation of the epoch that has just ended. Raises Diverged."""
    where.unvalidated = False
    loss = found.metrics["loss"]
    if not math.isfinite(loss):
        raise NonFiniteLossError(f"the validation loss is {loss} after step {where.step}; lower lr, or clip gradients")
    where.best, where.worse = (found.metrics[found.metric], 0) if found.best else (where.best, where.worse + 1)
    reporter.send(
        Validated(
            epoch=where.epoch - 1,
            step=where.step,
            metrics=found.metrics,
            metric=found.metric,
            best=found.best,
            images=found.images,
            seconds=found.seconds,
        )
    )


def early_stop_reason(settings: CheckpointConfig, where: ResumePosition, metric: str) -> str:
    """Why the run ends now, though not all steps are done; empty if it does not."""
    if not settings.early_stop or where.worse < settings.early_stop:
        return ""
    return f"ended early: {where.worse} validations in a row were no better than {metric} {where.best:.4g}"


def checkpoint_due(settings: CheckpointConfig, where: ResumePosition, *, best: bool, stopped: bool) -> Kind | None:
    """The checkpoint that is due after the epoch that has just ended, if one is; `best`: it was never better."""
    if best:
        return "best"
    every = settings.checkpoint_epochs
    return "last" if every and where.epoch % every == 0 and not stopped else None


def due_within(settings: CheckpointConfig, step: int, saved_step: int) -> bool:
    """Whether a checkpoint is due after `step`, in the midst of an epoch."""
    every = settings.checkpoint_steps
    return bool(every) and step // every > saved_step // every
