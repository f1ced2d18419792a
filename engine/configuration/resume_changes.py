"""Which settings may change when a run is resumed, and what a change does. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration.settings import shown

FIXED = frozenset((
    "dataset", "train_split", "image_size", "augment", "crop_min_scale", "batch_size", "model", "width", "optimizer",
    "accumulation_steps", "seed", "progressive_start", "progressive_epochs", "custom", "val_share", "clip_frames",
    "ranks", "engine", "image_key", "label_key", "shuffle", "shuffle_window",
))  # fmt: skip
"""These cannot change: they determine the order of samples, the shape of the weights or the number of updates."""
ROUNDING = frozenset((
    "device", "precision", "val_precision", "tf32", "cudnn_benchmark", "channels_last", "compile", "compile_mode",
    "compile_scope", "fused_optimizer", "gradient_checkpointing",
))  # fmt: skip
"""A change affects only the floating-point rounding of the training."""
FREE = frozenset((
    "recipe", "profile", "preset", "name", "resume_from", "data_dir", "loader", "num_workers", "prefetch_factor",
    "persistent_workers", "pin_memory", "non_blocking", "max_bad_images", "cache_gib", "val_batch_size", "set_to_none",
    "oom_fallback", "nonfinite_loss", "checkpoint_epochs", "checkpoint_steps", "keep_last", "async_checkpoints",
    "auto_resume", "sample_seconds", "resources_csv", "loggers", "weights", "weights_strict", "code_dir", "autotune",
    "hang_seconds",
))  # fmt: skip
"""A change leaves the training the same bit for bit. (Moved data are checked by classes and number of images.)"""


def check_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The effects of the changes from `before` to `after` on a resumed run, one sentence each.

    Raises BadInput naming a setting that can't change.
    """
    notes = []
    for name, value in after.items():
        old = before.get(name, value)
        if old == value or name in FREE:
            continue
        change = f"{name}: was {shown(old)} and is {shown(value)}"
        if name in FIXED:
            raise BadInput(
                f"{change}; a resumed run can't change it: set {name}={shown(old)}, or start a new run "
                "from its weights: weights=CHECKPOINT"
            )
        if name in ROUNDING:
            notes.append(f"{change}: the same training with different rounding from here on")
        else:
            notes.append(f"{change}: the training differs from here on")
    return notes
