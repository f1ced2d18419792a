"""Which settings engine=keras supports; others are replaced with a note, or refused. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gputrain.engine.common.errors import did_you_mean
from gputrain.engine.common.sanitize import plain

MODELS = ("simple_cnn", "mobilenet_v2", "resnet50_v2", "efficientnet_b0")
"""Model names: simple_cnn as in torch, the others from ``keras.applications``."""
WEIGHTS = "DEFAULT"
"""Value of `weights` for Keras' pretrained (ImageNet) weights; simple_cnn has none."""
CHECKPOINT = ".npz"
"""Suffix of checkpoints, which `weights` accepts too."""
DATASETS = ("demo", "imagefolder")

_THREADS = "images are decoded by num_workers threads of tf.data"
_MEMORY = "TensorFlow manages page-locked memory and copies itself"
_TORCH_ONLY = "torch only"
REPLACED: Mapping[str, tuple[object, str]] = {
    "loader": ("auto", f"no effect with engine=keras: {_THREADS}"),
    "persistent_workers": (False, f"no effect with engine=keras: {_THREADS}"),
    "pin_memory": (False, f"no effect with engine=keras: {_MEMORY}"),
    "non_blocking": (False, f"no effect with engine=keras: {_MEMORY}"),
    "cache": ("none", "engine=keras has no image cache: none"),
    "val_precision": ("same", "engine=keras validates in the precision of training: same"),
    "channels_last": (True, "engine=keras trains in NHWC: on"),
    "compile_mode": ("default", f"no effect with engine=keras: {_TORCH_ONLY}; compile=true is XLA"),
    "compile_scope": ("model", f"no effect with engine=keras: {_TORCH_ONLY}; XLA compiles the whole step"),
    "fused_optimizer": (False, f"no effect with engine=keras: {_TORCH_ONLY}"),
    "set_to_none": (False, f"no effect with engine=keras: {_TORCH_ONLY}"),
    "gradient_checkpointing": (False, "engine=keras cannot recompute activations: off"),
    "oom_fallback": (False, "engine=keras cannot split batches: the run fails if GPU memory runs out"),
    "autotune": (False, "engine=keras has no live tuning: off"),
}
"""Settings that affect only speed: the value that is used instead, and why."""
_OFF: Mapping[str, object] = {
    "progressive_start": 0,
    "color_jitter": 0.0,
    "hue_jitter": 0.0,
    "auto_augment": "none",
    "random_erasing": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "ema_decay": 0.0,
    "accumulation_steps": 1,
    "devices": 1,
    "hosts": "",
    "nonfinite_loss": "stop",
    "mean": "auto",
    "std": "auto",
}
"""Settings that affect the result, with the only value that engine=keras supports."""


def refusals(values: Mapping[str, Any]) -> Iterator[str]:
    """The unsupported settings, one sentence each with the remedy."""
    if values["dataset"] not in DATASETS:
        yield f"dataset: engine=keras reads {' and '.join(DATASETS)}, not {values['dataset']}; set engine=torch"
    for name, wanted in _OFF.items():
        if values[name] != wanted:
            shown = f"{wanted:g}" if isinstance(wanted, float) else wanted
            yield f"{name}: not supported with engine=keras; set {name}={shown}, or engine=torch"
    if values["optimizer"] == "lamb":
        yield (
            "optimizer: Keras' lamb computes its trust ratio without weight decay, unlike torch's here; "
            "set optimizer=adamw, or engine=torch"
        )


def why_no_model(name: str) -> str:
    """Why there is no model of that name; empty if there is one."""
    if name in MODELS:
        return ""
    known = ", ".join(MODELS)
    return f"model: engine=keras has no '{plain(name, 60)}'{did_you_mean(name, MODELS)} ({known}); or set engine=torch"


def why_no_weights(model: str, weights: str, *, is_file: bool) -> str:
    """Why `weights` can't be used; empty if they can, or if that is unknown."""
    if not weights or (is_file and weights.endswith(CHECKPOINT)) or (weights == WEIGHTS and model != MODELS[0]):
        return ""
    if is_file:
        return f"weights: engine=keras reads the checkpoints of its runs (*{CHECKPOINT}), not {plain(weights, 200)}"
    own = "" if model == MODELS[0] else f"; for Keras' ImageNet weights set weights={WEIGHTS}"
    return f"weights: no file '{plain(weights, 200)}'{own}"
