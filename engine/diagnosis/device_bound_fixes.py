"""What helps when something else than data holds a run back. Pure."""

from __future__ import annotations

from typing import Any

from gputrain.engine.configuration.engine_choice import is_keras
from gputrain.engine.diagnosis.tree import Fix
from gputrain.engine.diagnosis.windows.signals import Signals

_FP16_FROM, _BF16_FROM = 7.0, 8.0
"""Compute capabilities from which tensor cores have these formats."""
VRAM_ROOM = 0.60
"""Share of the GPU's memory at the peak up to which a batch twice as large is proposed."""


def _room(s: Signals) -> bool:
    return s.vram is not None and s.vram < VRAM_ROOM and bool(s.setting("batch_size", 0))


def saving(s: Signals) -> Fix:
    """Checkpoints that are written beside the training, or fewer."""
    if not s.setting("async_checkpoints", True):
        return Fix("Write them beside the training: async_checkpoints=true.", {"async_checkpoints": True})
    steps, epochs = s.setting("checkpoint_steps", 0), s.setting("checkpoint_epochs", 1)
    if not steps and not epochs:
        every = 2 * s.setting("validate_epochs", 1)
        return Fix(
            f"Only the best are saved, after a validation: validate_epochs={every} makes both rarer.",
            {"validate_epochs": every},
        )
    name, value = ("checkpoint_steps", 4 * steps) if steps else ("checkpoint_epochs", 4 * epochs)
    return Fix(f"Save more rarely: {name}={value}.", {name: value})


def validating(s: Signals) -> Fix:
    """Fewer validations."""
    every = 2 * s.setting("validate_epochs", 1)
    return Fix(f"Validate more rarely: validate_epochs={every}; or on fewer images.", {"validate_epochs": every})


def slow_rank(s: Signals) -> Fix:
    """The slowest one by its number: what it lacks is asked of its own GPU, or of its data."""
    if (s.late_by_data or 0.0) >= 0.5:
        return Fix(f"Rank {s.slowest_rank} waits for data while the others compute: num_workers are each rank's own.")
    place = f"GPU {s.slowest_rank}, its clock and its power" if s.on_gpu else "its cores"
    return Fix(f"Rank {s.slowest_rank} computes more slowly: look for other programs on {place}.")


def communication(s: Signals) -> Fix:
    """Fewer exchanges, or more work between two."""
    return Fix(
        "Exchange gradients more rarely: a larger batch_size, or accumulation_steps="
        f"{2 * s.setting('accumulation_steps', 1)} (each update then sees twice as many images)."
    )


def copy(s: Signals) -> Fix:
    """Copies beside the computing."""
    changes = {name: True for name in ("pin_memory", "non_blocking") if not s.setting(name, True)}
    if changes:
        return Fix("Page-locked, asynchronous copies overlap with computing.", changes)
    return Fix("The copies are asynchronous already: check the PCIe generation and width of the GPU's slot.")


def less_launching(s: Signals) -> Fix:
    """More work in each kernel, or fewer launches."""
    compiled = s.setting("compile", False)
    if _room(s):
        batch = 2 * s.setting("batch_size", 1)
        return Fix(
            f"Kernels are too short for the host to keep up with: bigger batches (batch_size={batch})"
            + ("." if compiled else ", or compile the model."),
            {"batch_size": batch} if compiled else {"batch_size": batch, "compile": True},
        )
    if compiled and is_keras(s.settings):
        return Fix("Kernels are too short for the host to keep up with: use bigger batches.")
    return Fix(
        "Kernels are too short for the host to keep up with: use bigger batches"
        + (" or compile_mode=reduce-overhead." if compiled else ", or compile the model."),
        {"compile_mode": "reduce-overhead"} if compiled else {"compile": True},
    )


def host(s: Signals) -> Fix:
    """Less for the host to do in a step."""
    return Fix(
        "Python, logging or a value that is fetched in each step (.item(), print of a loss) holds the steps up: "
        "fetch it every few steps, or compile the model.",
        {} if s.setting("compile", False) else {"compile": True},
    )


def inefficient(s: Signals) -> Fix:
    """More work at a time."""
    changes: dict[str, Any] = {"batch_size": 2 * s.setting("batch_size", 1)} if _room(s) else {}
    changes |= {name: True for name in ("channels_last", "compile") if not s.setting(name, False)}
    return Fix("Kernels run, but fill a part of the GPU: bigger batches, channels_last, fused kernels.", changes)


def precision(s: Signals) -> Fix:
    """Formats that tensor cores have."""
    formats = "bf16 or TF32" if (s.capability or 0.0) >= _BF16_FROM else "fp16"
    return Fix(f"{formats} would use the tensor cores: precision=auto.", {"precision": "auto"})


def cooling(s: Signals) -> Fix:
    """Nothing that a setting could do; so the next two."""
    return Fix("Check cooling, the power limit and the power supply: nvidia-smi -q -d PERFORMANCE tells more.")


def neighbour(s: Signals) -> Fix:
    """A GPU for each."""
    return Fix("Move them to another GPU, or this run.")


def contention(s: Signals) -> Fix:
    """The cores back."""
    return Fix("Move or renice the other programs: on the CPU each core that they use is one less to train with.")


def compute_bound(s: Signals) -> Fix:
    """Nothing is wrong; so the next."""
    tensor = s.on_gpu and s.precision == "fp32" and (s.capability or 0.0) >= _FP16_FROM
    offer = " Precision bf16 or fp16 may make the steps shorter." if tensor else ""
    return Fix(f"The data keeps up: more workers would gain nothing.{offer}")


def cpu_bound(s: Signals) -> Fix:
    """A faster machine."""
    return Fix("Nothing is wrong: a smaller model or smaller images, more cores, or a GPU would train faster.")
