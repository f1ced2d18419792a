"""End of an epoch: when validation, early stop and checkpoint are due. For both engines; imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gputrain.engine.checkpointing.checkpoint_saver import Kind
from gputrain.engine.checkpointing.resume_position import ResumePosition
from gputrain.engine.configuration.setting_definitions import CheckpointConfig
from gputrain.engine.events import EpochEnded, Validated
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.shared_loop.nonfinite_loss import NonFiniteLossError


def end_epoch(
    reporter: EventReporter, where: ResumePosition, seconds: float, images: int, train_loss: float | None
) -> None:
    """Send `EpochEnded` and advance `where` to the next epoch."""
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
    """Whether to validate after the epoch that just ended; always after the last one."""
    return where.step >= total_steps or where.epoch % settings.validate_epochs == 0


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """Metrics of a validation."""

    metrics: dict[str, float]
    """``loss`` among them."""
    metric: str
    """The one that selects the best checkpoint."""
    best: bool
    """Whether it is the best value so far."""
    images: int
    seconds: float


def validation_result(reporter: EventReporter, where: ResumePosition, found: ValidationResult) -> None:
    """Record and report the validation of the epoch that just ended. Raises NonFiniteLossError."""
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
    """Reason to stop early; empty to go on."""
    if not settings.early_stop or where.worse < settings.early_stop:
        return ""
    return f"ended early: {where.worse} validations in a row were no better than {metric} {where.best:.4g}"


def checkpoint_due(settings: CheckpointConfig, where: ResumePosition, *, best: bool, stopped: bool) -> Kind | None:
    """Kind of checkpoint due after the epoch that just ended; None: none. `best`: its validation is the best."""
    if best:
        return "best"
    every = settings.checkpoint_epochs
    return "last" if every and where.epoch % every == 0 and not stopped else None


def mid_epoch_checkpoint_due(settings: CheckpointConfig, step: int, saved_step: int) -> bool:
    """Whether ``checkpoint_steps`` wants a checkpoint after `step`, within an epoch."""
    every = settings.checkpoint_steps
    return bool(every) and step // every > saved_step // every
