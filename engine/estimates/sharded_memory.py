"""Memory of weights, gradients and optimizer on one device, as `sharding` divides them among the ranks. Pure.

``full`` is torch's FSDP2 (``fully_shard``): each rank keeps 1/N of everything and gathers a block's weights while it
computes (Zhao et al. 2023, "PyTorch FSDP"; stage 3 of Rajbhandari et al. 2020, "ZeRO"). ``zero1`` is stage 1: the
optimizer's state alone is divided.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gputrain.engine.configuration import global_batch
from gputrain.engine.estimates.host_memory import Part
from gputrain.engine.model_catalog.activation_memory import ModelCost
from gputrain.engine.model_catalog.divided_blocks import DividedBlocks

_FLOAT, _HALF = 4, 2
"""Bytes of a value."""


def weight_parts(
    values: Mapping[str, Any], cost: ModelCost, blocks: DividedBlocks | None, states: tuple[int, int], words: str
) -> list[Part]:
    """Weights, gradients, optimizer and copies on one device, in bytes.

    `blocks`: of the model; None: not counted, so that it is taken as one. `states`: values per weight that the
    optimizer keeps, and the EMA; `words`: names both.
    """
    ranks = global_batch.rank_count(values)
    sharding = values["sharding"] if ranks > 1 else "none"
    if sharding == "full":
        return _full(values, cost, blocks or DividedBlocks(cost.parameters, 0, True), sum(states), ranks, words)
    weights = cost.parameters * _FLOAT
    optimizer, note = weights * sum(states), f"{words}: {sum(states)} × the weights"
    if sharding == "zero1":
        optimizer = weights * states[0] // ranks + weights * states[1]
        whole = f", {states[1]} × of the EMA" if states[1] else ""
        note = f"zero1: 1/{ranks} of {states[0]} × the weights{whole}, by whole parameters"
    buckets = ", in DistributedDataParallel's buckets" if ranks > 1 else ""
    parts = [
        Part("weights", weights, "float32"),
        Part("gradients", weights, f"float32{buckets}"),
        Part("optimizer", optimizer, note),
    ]
    if ranks > 1 and values["gradient_compression"] == "bf16":
        sent = min(weights, values["bucket_mib"] << 20) * _HALF // _FLOAT
        parts.append(Part("all-reduce buffer", 2 * sent, "two buckets in bf16 on their way"))
    if is_half(values):
        parts.append(Part("half-precision weights", cost.parameters * _HALF, "autocast's copies"))
    return parts


def validation_part(values: Mapping[str, Any], cost: ModelCost, training: int) -> Part | None:
    """What a validation with ``full`` needs beyond the `training` bytes that it does not, in which all weights are
    gathered; None: nothing.
    """
    if values["sharding"] != "full" or global_batch.rank_count(values) == 1:
        return None
    more = cost.parameters * _FLOAT - training
    return Part("validation", more, "all weights gathered, beyond the blocks and activations") if more > 0 else None


def is_half(values: Mapping[str, Any]) -> bool:
    """Whether the network computes in 16 bits."""
    return values["precision"] in ("fp16", "bf16")


def _full(
    values: Mapping[str, Any], cost: ModelCost, blocks: DividedBlocks, states: int, ranks: int, words: str
) -> list[Part]:
    share = -(-cost.parameters * _FLOAT // ranks)
    # As `ShardedNetwork.divide` does: BatchNorm's statistics are float32.
    narrow = values["precision"] == "bf16" and not blocks.batch_norm
    gathered = _HALF if narrow else _FLOAT
    reduced = _HALF if values["gradient_compression"] == "bf16" else _FLOAT
    rest, largest = blocks.rest, blocks.largest
    kind = "bf16" if narrow else "float32"
    what = f"two blocks of {largest:,} and {rest:,} outside of them" if largest else "the model has no blocks: all"
    parts = [
        Part("weights", share, f"float32, 1/{ranks} of them (FSDP2)"),
        Part("gradients", share, f"float32, 1/{ranks} of them"),
        Part("optimizer", share * states, f"{words}: {states} × 1/{ranks} of the weights"),
        Part("gathered weights", (rest + 2 * largest) * gathered, f"{kind}: {what}"),
        Part(
            "whole gradients",
            max(rest, largest) * (gathered + reduced),
            "of the block whose backward pass is done, and what is sent",
        ),
    ]
    if is_half(values) and not narrow:
        parts.append(Part("half-precision weights", cost.parameters * _HALF, "autocast's copies"))
    return parts
