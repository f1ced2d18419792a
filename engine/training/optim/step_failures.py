"""How computing an update's gradients can fail, so that the update is repeated."""

from __future__ import annotations

from enum import IntEnum


class NoGpuMemoryError(RuntimeError):
    """GPU memory is too small for the smallest part of a batch."""


class RepeatInParts(Exception):  # noqa: N818 - control flow, not an error
    """The update was discarded and has to be repeated."""


class Failure(IntEnum):
    """How computing an update's gradients failed; with several ranks the largest value counts."""

    NONE = 0
    REPEAT = 1
    """The update has to be repeated."""
    MEMORY = 2
    """Out of GPU memory: the update has to be repeated in smaller parts."""


def raise_unless_repeatable(error: Exception, *, sharded: bool) -> None:
    """Raises NoGpuMemoryError with divided weights: the other ranks wait for this one within the step."""
    if sharded and not isinstance(error, RepeatInParts):
        raise NoGpuMemoryError(
            "GPU memory ran out, which with sharding=full ends the run; use a smaller batch_size, model or image_size, "
            "or gradient_checkpointing=true"
        ) from error


def classify_failure(error: Exception) -> Failure:
    """The failure that an exception of `TrainStep.backward` means."""
    return Failure.REPEAT if isinstance(error, RepeatInParts) else Failure.MEMORY
