"""Content of a PyTorch checkpoint: everything needed for an exact resume (weights, optimizer, RNG states …)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gputrain.engine.checkpointing.resume_position import ResumePosition
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.training.distributed.process_group import SingleProcess
from gputrain.engine.training.optim.train_step import TrainStep
from gputrain.engine.training.runtime import rng_state


def state_of(
    position: ResumePosition,
    config: RunConfig,
    images: ImageSet,
    stepper: TrainStep,
    rng_of_ranks: Sequence[dict[str, Any]] = (),
    shards: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A checkpoint's content: tensors and plain values only, so that ``weights_only`` loading can read it.

    `rng_of_ranks`: `generator_states` of each rank, if there are several. `shards`: where the tensors of the training
    are instead, see `checkpoint_shards.write`.
    """
    return {
        "position": asdict(position),
        "settings": settings.flatten(config),
        "order": _sampler_order(position, images),
        "classes": list(images.classes),
        "train_images": len(images),
        **(_tensors(stepper) if shards is None else _without_tensors(stepper, shards)),
        "scaler": stepper.scaler.state_dict(),
        "parts": stepper.parts,
        # Order and augmentation are functions of (seed, epoch, index); dropout and user models use these generators.
        **generator_states(),
        "of_ranks": list(rng_of_ranks),
    }


def _tensors(stepper: TrainStep) -> dict[str, Any]:
    return {
        "model": stepper.network.state_dict(),
        "ema": stepper.ema.network.state_dict() if stepper.ema is not None else None,
        "optimizer": stepper.optimizer.state_dict(),
    }


def _without_tensors(stepper: TrainStep, shards: dict[str, Any]) -> dict[str, Any]:
    groups = stepper.optimizer.state_dict()["param_groups"]
    return {"model": None, "ema": None, "optimizer": {"state": {}, "param_groups": groups}, "shards": shards}


def write_shards(folder: Path, step: int, stepper: TrainStep, ranks: SingleProcess) -> dict[str, Any]:
    """With divided weights, on all ranks: write the tensors; returns `shards` for `state_of`.

    Raises OSError and RankLostError.
    """
    ema = stepper.ema.network if stepper.ema is not None else None
    from gputrain.engine.training.distributed import checkpoint_shards  # no other run waits for it
    from gputrain.engine.training.state import fsdp_state

    tensors = fsdp_state.tensors_of(stepper.network, ema, stepper.optimizer)
    return checkpoint_shards.write(folder, step, tensors, ranks)


def generator_states() -> dict[str, Any]:
    """RNG states of this process, as tensors and plain values."""
    return {
        **rng_state.rng_states(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _sampler_order(position: ResumePosition, images: ImageSet) -> torch.Tensor | None:
    """The order that a user's sampler returned for the present epoch; it may not return the same again."""
    if images.user_dataset is None or not position.batch or images.user_dataset.epoch_order.epoch != position.epoch:
        return None
    return torch.from_numpy(images.user_dataset.epoch_order.indices)


def restore_order(state: dict[str, Any], images: ImageSet) -> None:
    """Continue the epoch in the order in which it started, whatever a user's sampler returns now."""
    order = state.get("order")
    if images.user_dataset is not None and order is not None:
        images.user_dataset.epoch_order.epoch, images.user_dataset.epoch_order.indices = (
            state["position"]["epoch"],
            order.numpy(),
        )


def restore(state: dict[str, Any], stepper: TrainStep) -> None:
    """Load a checkpoint's content, which passed `check_continuation`, except for its position and generators."""
    ema = stepper.ema.network if stepper.ema is not None else None
    optimizer = state["optimizer"]
    if stepper.sharded is None:
        stepper.network.load_state_dict(state["model"])
        if ema is not None:
            ema.load_state_dict(state["ema"] or state["model"])
    else:
        optimizer = _load_divided(state, stepper, ema)
    _restore_optimizer(stepper.optimizer, optimizer)
    if stepper.scaler.is_enabled() and state["scaler"]:
        stepper.scaler.load_state_dict(state["scaler"])
    stepper.parts = state["parts"]


def restore_generators(state: dict[str, Any], rank: int, count: int) -> bool:
    """Restore the generators of `rank` of `count`; False if the checkpoint is of another number of ranks."""
    of_ranks = state.get("of_ranks") or [state]
    if len(of_ranks) != count:
        return False
    generators = of_ranks[rank]
    rng_state.restore_rng_states(generators)
    if torch.cuda.is_available() and len(generators["cuda_rng"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(generators["cuda_rng"])
    return True


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load the optimizer's state, and keep its settings (decay, momentum, kernels), which may have changed."""
    own = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, values in zip(optimizer.param_groups, own, strict=True):
        group.update(values)


def _load_divided(state: dict[str, Any], stepper: TrainStep, ema: nn.Module | None) -> dict[str, Any]:
    """Load weights and EMA into their parts on this rank; returns the optimizer's state for `load_state_dict`."""
    from gputrain.engine.training.state import fsdp_state  # no other run waits for it

    network, optimizer = stepper.network, state["optimizer"]
    if (folder := state.get("shards_at")) is not None:
        return fsdp_state.from_shards(folder, optimizer["param_groups"], network, ema, stepper.optimizer)
    fsdp_state.load_divided(network, state["model"])
    if ema is not None:
        fsdp_state.load_divided(ema, state["ema"] or state["model"])
    return fsdp_state.divided_optimizer_state(optimizer, stepper.optimizer)
