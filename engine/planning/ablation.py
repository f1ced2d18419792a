"""Stages of an ablation from an unoptimized training script to the full set of optimizations. Pure.

The stages are those of the CPU and GPU guide and the A10G guide (workers, mixed precision, channels_last, TF32,
compile, cache). Each stage keeps the settings of the earlier ones. "all" has all of them and the fused optimizer; the
plan, which may leave some out, comes last for comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from msgspec import Struct

Name = Literal["standard", "workers", "mixed precision", "channels_last", "TF32", "compile", "cache", "all"]
NAMES: tuple[Name, ...] = get_args(Name)
"""Names of the stages in their order."""

STANDARD: Mapping[str, Any] = {
    "num_workers": 0,
    "prefetch_factor": 2,
    "pin_memory": False,
    "non_blocking": False,
    "precision": "fp32",
    "channels_last": False,
    "tf32": False,
    "cudnn_benchmark": False,
    "compile": False,
    "fused_optimizer": False,
    "cache": "none",
    "gradient_checkpointing": False,
}
"""The settings of a plain training script: no workers, float32, contiguous tensors.

The engine's own image decoder, which is faster than Pillow's, is used in all stages, so that no stage shows its gain.
"""

_WORKERS = ("num_workers", "prefetch_factor", "persistent_workers", "loader", "pin_memory", "non_blocking")
_COMPILE = ("compile", "compile_mode", "compile_scope")
_CACHE = ("cache", "cache_form", "cache_resolution", "cache_gib")


class Stage(Struct, frozen=True):
    """One stage of the ablation."""

    name: str
    changes: Mapping[str, Any]
    """Settings that differ from the plan, by name."""
    skipped: str = ""
    """Why this machine cannot measure it; empty if it can."""

    @property
    def key(self) -> str:
        """Its name in `NAMES`; the plan's name is not in there."""
        return self.name.removeprefix("+ ")


def ablation_stages(plan: Mapping[str, Any], *, gpu: bool, tf32: bool, every: bool) -> list[Stage]:
    """The stages for the settings `plan`; without `every` only the first one and the plan.

    `gpu`: the plan trains on a GPU; `tf32`: that GPU has TF32.
    """
    stages: list[Stage] = []
    settings = dict(STANDARD)

    def add(name: str, changes: Mapping[str, Any], skipped: str = "") -> None:
        if not skipped:
            settings.update(changes)
        stages.append(Stage(name, {k: v for k, v in settings.items() if v != plan[k]}, skipped))

    add("standard", {})
    if every:
        add("+ workers", {name: plan[name] for name in _WORKERS})
        precision = "auto" if plan["precision"] == "fp32" else plan["precision"]
        add("+ mixed precision", {"precision": precision})
        add("+ channels_last", {"channels_last": True})
        add("+ TF32", {"tf32": True, "cudnn_benchmark": True}, "" if tf32 else _no_tf32(gpu))
        # On a CPU compiling takes a minute and gains nothing (profiles/hardware/cpu.yaml): only on request.
        wanted = gpu or plan["compile"]
        compiled = {**{name: plan[name] for name in _COMPILE}, "compile": True}
        add("+ compile", compiled, "" if wanted else "rarely gains on a CPU; compile=true measures it")
        cache = {name: plan[name] for name in _CACHE} if plan["cache"] != "none" else {"cache": "ram"}
        add("+ cache", cache)
        add("all", {"fused_optimizer": True})
    stages.append(Stage("the plan", {}))
    return stages


def _no_tf32(gpu: bool) -> str:
    return "needs compute capability 8.0" if gpu else "needs a GPU"
