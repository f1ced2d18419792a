"""Estimate of a run's GPU memory: weights, gradients, optimizer, activations. Pure functions; sizes are in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gputrain.engine.common.units import MIB
from gputrain.engine.configuration import engine_choice, global_batch
from gputrain.engine.estimates.host_memory import Part, batch_bytes, images_per_sample, kind_of, value_bytes
from gputrain.engine.model_catalog.activation_memory import ModelCost, cost_of

CUDA_CONTEXT_BYTES = 512 * MIB
"""Allowance for the CUDA context and loaded kernels."""
WORKSPACE_BYTES = 512 * MIB
"""Allowance for cuDNN's workspaces."""
CLIP_STREAM_PARAMETERS = 1_350_000
"""Parameters of a clip stream's recurrent part (counted: a ConvLSTM of 1.18 million, and its input layers). Its
activations are 0.5 % of the encoder's."""
BACKWARD_SHARE = 0.1
"""Allowance for gradients of activations during the backward pass, as a share of the activations.
With it ResNet-50 at a batch of 256 takes 14 GB, between seed 003's 13 and 16."""
COMPILE_SHARE = 0.05
"""Allowance for torch.compile's extra memory, as a share of the activations (seed 003: it "costs memory")."""


class VramBudget(Struct, frozen=True):
    """Memory of one GPU. `total` is None when the model's activations are not known."""

    parts: tuple[Part, ...]
    total: int | None
    limit: int | None
    """The memory that the GPU's programs share; None: unknown."""
    source: str


def vram_in_use(used: int) -> tuple[Part, ...]:
    """The budget entry for GPU memory that is already in use; empty if none is."""
    return (Part("in use now", used, "other programs and the driver"),) if used else ()


def vram_budget(values: Mapping[str, Any], *, limit: int | None, in_use: int = 0) -> VramBudget:
    """Memory of one GPU with `limit` bytes, by part, from the table of models. `in_use`: bytes already in use."""
    cost = _cost(values)
    if cost is None:
        what = "TensorFlow's memory is" if engine_choice.is_keras(values) else f"activations of {values['model']} are"
        source = f"{what} not in the table of models"
        parts = (*vram_in_use(in_use), Part("CUDA context", CUDA_CONTEXT_BYTES, "allowance"))
        return VramBudget(parts, None, limit, source)
    parts = (*vram_in_use(in_use), *_model_parts(values, cost), *_batch_parts(values, cost))
    source = f"{values['model']} counted; context and workspaces are allowances"
    return VramBudget(parts, sum(part.bytes for part in parts), limit, source)


def _cost(values: Mapping[str, Any]) -> ModelCost | None:
    """The costs of the network; for clips of two encoders, one per stream, and their recurrent parts."""
    # The table was counted in torch.
    cost = None if engine_choice.is_keras(values) else cost_of(values["model"], values["width"])
    if cost is None or values["dataset"] != "clips":
        return cost
    return replace(cost, parameters=2 * (cost.parameters + CLIP_STREAM_PARAMETERS))


def parameters_of(values: Mapping[str, Any]) -> int | None:
    """Number of parameters of the network; None where it is not in the table of models."""
    cost = _cost(values)
    return None if cost is None else cost.parameters


def _is_half(values: Mapping[str, Any]) -> bool:
    return values["precision"] in ("fp16", "bf16")


def _model_parts(values: Mapping[str, Any], cost: ModelCost) -> list[Part]:
    """The parts that do not depend on the batch size."""
    weights = cost.parameters * 4
    states = _optimizer_states(values)
    parts = [
        Part("CUDA context", CUDA_CONTEXT_BYTES, "allowance"),
        Part("weights", weights, "float32"),
        Part("gradients", weights, "float32"),
        Part(
            "optimizer",
            weights * states,
            f"{values['optimizer']}{' and EMA' if values['ema_decay'] else ''}: {states} × the weights",
        ),
        Part("workspaces", WORKSPACE_BYTES, "allowance for cuDNN"),
    ]
    if global_batch.rank_count(values) > 1:
        parts.append(Part("all-reduce buffer", weights, "a copy of the gradients for the other ranks"))
    if _is_half(values):
        parts.append(Part("half-precision weights", cost.parameters * 2, "autocast's copies"))
    return parts


def _optimizer_states(values: Mapping[str, Any]) -> int:
    """Values per weight that the optimizer keeps, plus one for the EMA weights."""
    momentum = 1 if values["momentum"] else 0
    states = {"sgd": momentum, "rmsprop": 1 + momentum, "adam": 2, "adamw": 2, "lamb": 2}[values["optimizer"]]
    return states + (1 if values["ema_decay"] else 0)


def _batch_parts(values: Mapping[str, Any], cost: ModelCost) -> list[Part]:
    """The parts that grow with the batch size."""
    half = _is_half(values)
    images = values["batch_size"] * images_per_sample(values)
    activations = cost.activations(images, values["image_size"], half)
    most = ", an upper bound: gradient_checkpointing recomputes some" if values["gradient_checkpointing"] else ""
    parts = [
        Part("activations", activations, f"{images} images in {values['precision']}{most}"),
        Part("backward pass", int(activations * BACKWARD_SHARE), f"allowance: {BACKWARD_SHARE:.0%} of the activations"),
        Part(
            "batches",
            2 * batch_bytes(values, value_bytes(values)) + batch_bytes(values, 2 if half else 4),
            f"two as {kind_of(values)}, one as input",
        ),
    ]
    if values["compile"]:
        note = f"allowance: {COMPILE_SHARE:.0%} of the activations"
        parts.append(Part("compile", int(activations * COMPILE_SHARE), note))
    return parts


def largest_batch(values: Mapping[str, Any], limit: int) -> int | None:
    """The largest batch_size whose budget stays within `limit` bytes; None if unknown, 0 if none fits."""
    cost = _cost(values)
    if cost is None:
        return None
    fixed = sum(part.bytes for part in _model_parts(values, cost))
    # Bytes per image, from a large batch, where rounding does not matter.
    each = sum(part.bytes for part in _batch_parts({**values, "batch_size": 1000}, cost)) / 1000
    return max(0, int((limit - fixed) / each))
