"""Rules of the plan for several devices: their number, the images of one update, and what they exchange. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import global_batch
from gputrain.engine.configuration.sections import host_list
from gputrain.engine.planning.plan_draft import PlanDraft


def devices(draft: PlanDraft) -> None:
    """One GPU for each rank; ``all`` becomes the number of GPUs."""
    asked: int = draft.values["devices"]
    hosts = len(host_list.read_hosts(draft.values["hosts"]))
    if hosts:
        least: int = draft.values["min_nodes"]
        if least > hosts:
            draft.refusals.append(f"min_nodes: {least} of {hosts} hosts; min_nodes={hosts}")
        draft.notes["hosts"] = f"{hosts} × {asked or 'all'} processes, started over ssh"
    there = len(draft.machine.gpus) if draft.gpu is not None else 1
    if asked == 0:
        draft.values["devices"] = there
        draft.notes["devices"] = "all: " + (f"the {there} GPUs" if there > 1 else "there is one")
        return
    if asked == 1 or (hosts and asked > there):
        return  # more than here: each host says at the start how many GPUs it has
    if asked <= there:
        draft.notes["devices"] = f"one process on each of {asked} GPUs; batch_size and num_workers count per process"
    elif not draft.is_own("devices"):
        draft.change("devices", there, f"{asked} → {there}: the number of GPUs")
    elif draft.gpu is None:
        draft.warnings.append(f"devices: {asked} processes share this CPU: no speedup, for tests only")
    else:
        draft.refusals.append(f"devices: {asked} need a GPU each, and {there} can be used here; devices={there}")


def divided_batch(draft: PlanDraft) -> None:
    """Divide `global_batch_size` among the devices: accumulation_steps, and batch_size if it is not the user's own."""
    values = draft.values
    total: int = values["global_batch_size"]
    if not total or global_batch.product(values) == total:
        return
    try:
        size, steps = _parts(draft, total)
    except BadInput as error:
        draft.refusals.append(str(error))
        return
    why = f"{total} images per update (global_batch_size)"
    for name, value in (("batch_size", size), ("accumulation_steps", steps)):
        if values[name] != value:
            draft.change(name, value, f"{values[name]} → {value}: {why}")


def _parts(draft: PlanDraft, total: int) -> tuple[int, int]:
    """batch_size and accumulation_steps; the user's own stay. Raises BadInput."""
    count, size, steps = (
        global_batch.rank_count(draft.values),
        draft.values["batch_size"],
        draft.values["accumulation_steps"],
    )
    own_size, own_steps = draft.is_own("batch_size"), draft.is_own("accumulation_steps")
    if own_steps and (own_size or total % (count * steps)):
        times = f"batch_size {size} × " if own_size else ""
        raise BadInput(
            f"accumulation_steps: {total} images per update can't be divided by {times}{count} devices × {steps}; "
            "leave it out, or leave out global_batch_size"
        )
    if own_steps:
        return total // (count * steps), steps
    if own_size or not total % (count * size):
        return size, global_batch.steps_for(total, count, size)
    return global_batch.divide(total, count, size)


def sharded_weights(draft: PlanDraft) -> None:
    """What torch's fully_shard (FSDP2) can't do is off, or refused."""
    if draft.values["sharding"] != "full" or draft.values["devices"] < 2:
        return
    for name, (value, why) in off_with_sharding(draft.values).items():
        draft.change(name, value, why)
    draft.refusals.extend(refused_with_sharding(draft.values))


def off_with_sharding(values: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """Settings that `sharding: full` on several devices replaces: the value used instead, and why."""
    rules = _NOT_SHARDED
    if values["optimizer"] == "sgd":
        rules = (*rules, ("fused_optimizer", False, "torch has no fused sgd for sharding=full"))
    return {
        name: (value, f"{why}: {'off' if value is False else value}")
        for name, value, why in rules
        if values[name] != value
    }


def refused_with_sharding(values: Mapping[str, Any]) -> list[str]:
    """What `sharding: full` on several devices can't do at all, a sentence each."""
    refused = []
    if values["optimizer"] == "lamb":
        refused.append("sharding: full has no lamb, which compares whole layers; use adamw, or sharding=zero1")
    if values["precision"] == "fp16":
        refused.append("sharding: full has no loss scale for fp16; use precision=bf16 or fp32, or sharding=zero1")
    return refused


_NOT_SHARDED: tuple[tuple[str, Any, str], ...] = (
    ("channels_last", False, "sharding=full takes contiguous weights only"),
    ("oom_fallback", False, "with sharding=full a GPU out of memory ends the run"),
    ("async_checkpoints", False, "with sharding=full all devices write each checkpoint together"),
    ("compile_mode", "default", "sharding=full moves weights between steps, which CUDA graphs do not allow"),
)


def sync_batchnorm(draft: PlanDraft) -> None:
    """SyncBatchNorm needs several GPUs, and its exchange in the forward pass can't be made up for after a failure."""
    if not draft.values["sync_batchnorm"]:
        return
    if draft.gpu is None:
        draft.change("sync_batchnorm", False, "SyncBatchNorm needs GPUs: off")
    elif global_batch.rank_count(draft.values) > 1 and draft.values["oom_fallback"]:
        draft.change("oom_fallback", False, "with sync_batchnorm a GPU out of memory ends the run: off")
