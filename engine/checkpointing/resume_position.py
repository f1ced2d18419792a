"""Where a run is, and whether a checkpoint's content goes with the settings and data of one that goes on. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.renamed_names import current_settings
from gputrain.engine.configuration.resume_changes import check_changes


@dataclass(slots=True)
class ResumePosition:
    """Steps and batches that are done; the next batch is number `batch` of epoch `epoch`."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    images: int = 0
    updates: int = 0
    best: float | None = None
    worse: int = 0
    """Validations in a row that were no better."""
    loss_sum: float = 0.0
    """Sum of the losses of this epoch's steps so far, for its mean."""
    loss_steps: int = 0
    skips: int = 0
    """Updates that were skipped because their loss was no number, and how many of them were the last ones."""
    skips_in_a_row: int = 0
    unvalidated: bool = False
    """The epoch before this one is to be validated still."""


def check_continuation(
    state: Mapping[str, Any], values: Mapping[str, Any], classes: Sequence[str], train_images: int
) -> list[str]:
    """What settings among `values` that differ from the checkpoint's do to the run, a sentence each.

    `classes` and `train_images` are what the data hold now. Raises BadInput naming settings or data that can't change
    on the way.
    """
    try:
        told = check_changes(current_settings(state["settings"]), values)
    except BadInput as error:
        raise BadInput(f"resume_from: {error}") from None
    if list(classes) != state["classes"]:
        raise BadInput("resume_from: the data have other classes than the run that is to go on")
    if train_images != state["train_images"]:
        raise BadInput(
            f"resume_from: the data had {state['train_images']} training images and have {train_images}; "
            "to train on with them, take the weights alone: weights=FILE"
        )
    return told
