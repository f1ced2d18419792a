"""Settings of a run that goes on: which may change on the way, which may not, and what a change does. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration.settings import shown

FIXED = frozenset((
    "dataset", "train_split", "image_size", "augment", "crop_min_scale", "batch_size", "model", "width", "optimizer",
    "accumulation_steps", "seed", "progressive_start", "progressive_epochs", "custom", "val_share", "clip_frames",
    "ranks", "engine",
))  # fmt: skip
"""With another value of these the order of samples, the shape of the weights or the count of the updates would be
another: the run would not be a continuation."""
ROUNDING = frozenset((
    "device", "precision", "val_precision", "tf32", "cudnn_benchmark", "channels_last", "compile", "compile_mode",
    "compile_scope", "fused_optimizer", "gradient_checkpointing",
))  # fmt: skip
"""The training stays the same but for the rounding of its arithmetic."""
FREE = frozenset((
    "recipe", "profile", "preset", "name", "resume_from", "data_dir", "loader", "num_workers", "prefetch_factor",
    "persistent_workers", "pin_memory", "non_blocking", "max_bad_images", "cache_gib", "val_batch_size", "set_to_none",
    "oom_fallback", "nonfinite_loss", "checkpoint_epochs", "checkpoint_steps", "keep_last", "async_checkpoints",
    "auto_resume", "sample_seconds", "resources_csv", "loggers", "weights", "weights_strict", "code_dir", "autotune",
    "hang_seconds",
))  # fmt: skip
"""The training stays the same bit for bit. (Data that moved are checked by their classes and their number.)"""


def check_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What the changes from `before` to `after` do to a run that goes on, a sentence each.

    Raises BadInput naming a setting that can't change on the way.
    """
    told = []
    for name, value in after.items():
        old = before.get(name, value)
        if old == value or name in FREE:
            continue
        change = f"{name}: was {shown(old)} and is {shown(value)}"
        if name in FIXED:
            raise BadInput(
                f"{change}; a run can't go on with another one: set {name}={shown(old)}, or begin a new run "
                "with this one's weights: weights=CHECKPOINT"
            )
        if name in ROUNDING:
            told.append(f"{change}: the same training, with other rounding from here on")
        else:
            told.append(f"{change}: the training takes another course from here on")
    return told
