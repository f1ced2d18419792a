"""Position of a run in its training, and whether a checkpoint fits the settings and data of a resumed run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.renamed_names import current_settings
from gputrain.engine.configuration.resume_changes import check_changes
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.dataloading import batch_sampler


@dataclass(slots=True)
class ResumePosition:
    """Counts of what is done; the next batch is number `batch` of epoch `epoch`."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    images: int = 0
    updates: int = 0
    best: float | None = None
    worse: int = 0
    """Validations in a row without improvement."""
    loss_sum: float = 0.0
    """Sum of the losses of this epoch's steps so far."""
    loss_steps: int = 0
    skips: int = 0
    """Updates skipped for a NaN or Inf loss."""
    skips_in_a_row: int = 0
    """Skipped updates directly before this position."""
    unvalidated: bool = False
    """The last epoch still has to be validated."""


def check_continuation(
    state: Mapping[str, Any], values: Mapping[str, Any], classes: Sequence[str], train_images: int
) -> list[str]:
    """Warnings for settings in `values` that differ from the checkpoint's, a sentence each.

    `classes` and `train_images`: of the present data. Raises BadInput for settings or data that must not change in a
    resumed run.
    """
    try:
        warnings = check_changes(current_settings(state["settings"]), values)
    except BadInput as error:
        raise BadInput(f"resume_from: {error}") from None
    if list(classes) != state["classes"]:
        raise BadInput("resume_from: the data have other classes than the resumed run")
    if train_images != state["train_images"]:
        raise BadInput(
            f"resume_from: the data had {state['train_images']} training images and have {train_images}; "
            "to start a new training on them, use weights=FILE"
        )
    return warnings


def resumed_position(
    position: ResumePosition, before: Mapping[str, Any], config: RunConfig, samples: int
) -> ResumePosition:
    """A checkpoint's position in the batches of `config`, which may divide an update among other devices.

    `before`: the settings of the checkpoint; `samples`: of the training data. Steps are counted on from those done,
    although a step has another number of images now.
    """
    old = {"devices": 1, **current_settings(before)}
    size, devices, steps = config.data.batch_size, config.devices, config.optim.accumulation_steps
    if (old["batch_size"], old["devices"], old["accumulation_steps"]) == (size, devices, steps):
        return position
    was = batch_sampler.batch_size_that_fits(old["batch_size"], samples, old["devices"])
    if position.batch >= batch_sampler.batch_count(samples, was, drop_last=True, ranks=old["devices"]):
        now = batch_sampler.batch_size_that_fits(size, samples, devices)
        batch = batch_sampler.batch_count(samples, now, drop_last=True, ranks=devices)
    else:
        # A checkpoint within an epoch is between two updates.
        batch = position.batch // old["accumulation_steps"] * steps
    return dataclasses.replace(position, batch=batch)
