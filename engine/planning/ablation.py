"""The ladder from a standard training to an optimized one: which settings each rung adds. Pure.

The rungs are those of seeds 000 and 003 (workers, mixed precision, channels_last, TF32, compile, cache); each keeps
what the rungs below it have. "all" has every one of them and the fused optimizer; the plan, which may leave some of
them out, comes after it for comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from msgspec import Struct

Name = Literal["standard", "workers", "mixed precision", "channels_last", "TF32", "compile", "cache", "all"]
NAMES: tuple[Name, ...] = get_args(Name)
"""The rungs in their order."""

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
"""What a training script does that sets nothing: no workers, float32, contiguous tensors.

Images are read by the engine's own decoder here too, which is faster than Pillow's: no rung has its gain.
"""

_WORKERS = ("num_workers", "prefetch_factor", "persistent_workers", "loader", "pin_memory", "non_blocking")
_COMPILE = ("compile", "compile_mode", "compile_scope")
_CACHE = ("cache", "cache_form", "cache_resolution", "cache_gib")


class Stage(Struct, frozen=True):
    """One rung."""

    name: str
    changes: Mapping[str, Any]
    """All that differs from the plan, by setting name."""
    skipped: str = ""
    """Why it is not climbed here; empty when it is."""

    @property
    def key(self) -> str:
        """Its name among `NAMES`; the plan is not one of them."""
        return self.name.removeprefix("+ ")


def ablation_stages(plan: Mapping[str, Any], *, gpu: bool, tf32: bool, every: bool) -> list[Stage]:
    """The rungs for the settings `plan`; with `every` not set only the standard and the plan.

    `gpu`: the plan trains on one; `tf32`: it has TF32.
    """
    rungs: list[Stage] = []
    here = dict(STANDARD)

    def climb(name: str, settings: Mapping[str, Any], skipped: str = "") -> None:
        if not skipped:
            here.update(settings)
        rungs.append(Stage(name, {k: v for k, v in here.items() if v != plan[k]}, skipped))

    climb("standard", {})
    if every:
        climb("+ workers", {name: plan[name] for name in _WORKERS})
        precision = "auto" if plan["precision"] == "fp32" else plan["precision"]
        climb("+ mixed precision", {"precision": precision})
        climb("+ channels_last", {"channels_last": True})
        climb("+ TF32", {"tf32": True, "cudnn_benchmark": True}, "" if tf32 else _no_tf32(gpu))
        # On a CPU compiling takes a minute and gains nothing (profiles/hardware/cpu.yaml): only if it is asked for.
        wanted = gpu or plan["compile"]
        compiled = {**{name: plan[name] for name in _COMPILE}, "compile": True}
        climb("+ compile", compiled, "" if wanted else "seldom gains on a CPU; compile=true tries it")
        cache = {name: plan[name] for name in _CACHE} if plan["cache"] != "none" else {"cache": "ram"}
        climb("+ cache", cache)
        climb("all", {"fused_optimizer": True})
    rungs.append(Stage("the plan", {}))
    return rungs


def _no_tf32(gpu: bool) -> str:
    return "needs compute capability 8.0" if gpu else "needs a GPU"
