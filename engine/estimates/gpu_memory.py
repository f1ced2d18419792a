"""Estimate of a run's GPU memory: weights, gradients, optimizer, activations. Pure functions; sizes are in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gputrain.engine.common.units import MIB, size
from gputrain.engine.configuration import engine_choice, global_batch
from gputrain.engine.estimates.host_memory import Part, batch_bytes, images_per_sample, kind_of, value_bytes
from gputrain.engine.estimates.sharded_memory import is_half, validation_part, weight_parts
from gputrain.engine.model_catalog.activation_memory import ModelCost, cost_of
from gputrain.engine.model_catalog.divided_blocks import DividedBlocks, blocks_of

CUDA_CONTEXT_BYTES = 512 * MIB
"""Allowance for the CUDA context and loaded kernels."""
WORKSPACE_BYTES = 512 * MIB
"""Allowance for cuDNN's workspaces."""
CLIP_STREAM_PARAMETERS = 1_350_000
"""Parameters of a clip stream's recurrent part (counted: a ConvLSTM of 1.18 million, and its input layers). Its
activations are 0.5 % of the encoder's."""
BACKWARD_SHARE = 0.1
"""Allowance for gradients of activations during the backward pass, as a share of the activations.
With it ResNet-50 at a batch of 256 takes 14 GB, between the A10G guide's 13 and 16."""
COMPILE_SHARE = 0.05
"""Allowance for torch.compile's extra memory, as a share of the activations (the A10G guide: it "costs memory")."""
_ONLY_TRAINING = (
    "gathered weights",
    "whole gradients",
    "half-precision weights",
    "activations",
    "backward pass",
    "compile",
)
"""Parts that a validation does not have."""


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
    parts = (*vram_in_use(in_use), *_training_parts(values, cost))
    source = f"{values['model']} counted; context and workspaces are allowances"
    if values["sharding"] == "full" and global_batch.rank_count(values) > 1:
        source += "; FSDP2's gathered blocks by its rules, compared with gloo ranks on a CPU alone"
    return VramBudget(parts, sum(part.bytes for part in parts), limit, source)


def measured_budget(
    values: Mapping[str, Any], measured: int, note: str, *, limit: int | None, in_use: int = 0
) -> VramBudget:
    """As `vram_budget`, from what was `measured` on one device; `note` says how."""
    if beyond := beyond_one_device(values):
        note += f", {size(abs(beyond))} {'less' if beyond < 0 else 'more'} by sharding={values['sharding']}"
    parts = (*vram_in_use(in_use), Part("measured", measured + beyond, note))
    return VramBudget(parts, measured + beyond + in_use, limit, "calibrated on this machine")


def _cost(values: Mapping[str, Any]) -> ModelCost | None:
    """The costs of the network; for clips of two encoders, one per stream, and their recurrent parts."""
    # The table was counted in torch.
    cost = None if engine_choice.is_keras(values) else cost_of(values["model"], values["width"])
    if cost is None or values["dataset"] != "clips":
        return cost
    return replace(cost, parameters=2 * (cost.parameters + CLIP_STREAM_PARAMETERS))


def _training_parts(values: Mapping[str, Any], cost: ModelCost) -> list[Part]:
    """All parts of a training of our own."""
    parts = [*_model_parts(values, cost), *_batch_parts(values, cost)]
    only_training = sum(part.bytes for part in parts if part.name in _ONLY_TRAINING)
    more = validation_part(values, cost, only_training)
    return [*parts, more] if more is not None else parts


def parameters_of(values: Mapping[str, Any]) -> int | None:
    """Number of parameters of the network; None where it is not in the table of models."""
    cost = _cost(values)
    return None if cost is None else cost.parameters


def _model_parts(values: Mapping[str, Any], cost: ModelCost) -> list[Part]:
    """The parts that do not depend on the batch size."""
    words = f"{values['optimizer']}{' and EMA' if values['ema_decay'] else ''}"
    return [
        Part("CUDA context", CUDA_CONTEXT_BYTES, "allowance"),
        *weight_parts(values, cost, _blocks(values), _optimizer_states(values), words),
        Part("workspaces", WORKSPACE_BYTES, "allowance for cuDNN"),
    ]


def _blocks(values: Mapping[str, Any]) -> DividedBlocks | None:
    """How the network is divided into blocks; for clips two encoders are one network."""
    found = blocks_of(values["model"], values["width"])
    if found is None or values["dataset"] != "clips":
        return found
    return replace(found, rest=2 * (found.rest + CLIP_STREAM_PARAMETERS))


def _optimizer_states(values: Mapping[str, Any]) -> tuple[int, int]:
    """Values per weight that the optimizer keeps, and those of the EMA."""
    momentum = 1 if values["momentum"] else 0
    states = {"sgd": momentum, "rmsprop": 1 + momentum, "adam": 2, "adamw": 2, "lamb": 2}[values["optimizer"]]
    return states, 1 if values["ema_decay"] else 0


def _batch_parts(values: Mapping[str, Any], cost: ModelCost) -> list[Part]:
    """The parts that grow with the batch size."""
    half = is_half(values)
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


def beyond_one_device(values: Mapping[str, Any]) -> int:
    """Bytes that the settings' division of the weights adds on each device, negative if it saves; 0 if unknown.

    For a figure that was measured on one device.
    """
    cost = _cost(values)
    if cost is None or values["sharding"] == "none":
        return 0
    one = _model_parts({**values, "devices": 1, "hosts": ""}, cost)
    return sum(part.bytes for part in _model_parts(values, cost)) - sum(part.bytes for part in one)


def largest_batch(values: Mapping[str, Any], limit: int) -> int | None:
    """The largest batch_size whose budget stays within `limit` bytes; None if unknown, 0 if none fits."""
    cost = _cost(values)
    if cost is None:
        return None
    fixed = sum(part.bytes for part in _model_parts(values, cost))
    # Bytes per image, from a large batch, where rounding does not matter.
    each = sum(part.bytes for part in _batch_parts({**values, "batch_size": 1000}, cost)) / 1000
    found = max(0, int((limit - fixed) / each))
    # A validation that gathers all weights may need more than the training.
    smallest = sum(part.bytes for part in _training_parts({**values, "batch_size": max(1, found)}, cost))
    return found if smallest <= limit or values["sharding"] != "full" else 0
