"""Which settings may change when a run is resumed, and what a change does. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import global_batch
from gputrain.engine.configuration.settings import shown

FIXED = frozenset((
    "dataset", "train_split", "image_size", "augment", "crop_min_scale", "model", "width", "optimizer", "seed",
    "progressive_start", "progressive_epochs", "custom", "val_share", "clip_frames", "engine", "sync_batchnorm",
    "image_key", "label_key", "shuffle", "shuffle_window",
))  # fmt: skip
"""These cannot change: they determine the order of samples, the shape of the weights or the number of updates."""
GLOBAL_BATCH = ("batch_size", "devices", "hosts", "accumulation_steps", "global_batch_size")
"""A change must leave the number of images per update: then each update has the same samples as before."""
ROUNDING = frozenset((
    "device", "precision", "val_precision", "tf32", "cudnn_benchmark", "channels_last", "compile", "compile_mode",
    "compile_scope", "fused_optimizer", "gradient_checkpointing", "gradient_compression", "sharding", "bucket_mib",
))  # fmt: skip
"""A change affects only the floating-point rounding of the training."""
FREE = frozenset((
    "recipe", "profile", "preset", "name", "resume_from", "data_dir", "loader", "num_workers", "prefetch_factor",
    "persistent_workers", "pin_memory", "non_blocking", "max_bad_images", "cache_gib",
    "remote_cache_gib", "val_batch_size", "set_to_none",
    "oom_fallback", "nonfinite_loss", "checkpoint_epochs", "checkpoint_steps", "keep_last", "async_checkpoints",
    "auto_resume", "sample_seconds", "resources_csv", "loggers",
    "alerts", "cost_per_hour", "price_per_kwh", "weights", "weights_strict", "code_dir", "autotune",
    "hang_seconds", "rank_timeout", "max_restarts", "gpu_bandwidth", "network_bandwidth",
    "min_nodes", "node_timeout", "master_addr", "remote_python",
))  # fmt: skip
"""A change leaves the training the same bit for bit. (Moved data are checked by classes and number of images.)"""


def check_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The effects of the changes from `before` to `after` on a resumed run, one sentence each.

    Raises BadInput naming a setting that can't change.
    """
    notes = _check_global_batch(before, after)
    for name, value in after.items():
        old = before.get(name, value)
        if old == value or name in FREE or name in GLOBAL_BATCH:
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


def _check_global_batch(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Notes on another division of the images of an update. Raises BadInput if their number changes."""
    old = {name: before.get(name, after.get(name, 1)) for name in GLOBAL_BATCH}
    new = {name: after.get(name, old[name]) for name in GLOBAL_BATCH}
    changed = [name for name in GLOBAL_BATCH[:4] if old[name] != new[name]]
    if not changed:
        return []
    was, now = global_batch.product(old), global_batch.product(new)
    change = "; ".join(f"{name}: was {_named(old[name])} and is {_named(new[name])}" for name in changed)
    if was != now:
        raise BadInput(
            f"{change}; {now} images per update, not {was}; a resumed run keeps them: "
            f"global_batch_size={was}, or start a new run from its weights: weights=CHECKPOINT"
        )
    rest = "; the last update of an epoch may have other samples" if "batch_size" in changed else ""
    return [f"{change}; each update has the same {was} images as before{rest}"]


def _named(value: object) -> object:
    """The value of a setting of `GLOBAL_BATCH`; no hosts are this machine."""
    return "this machine" if value == "" else value
