"""A position as a checkpoint of torch holds it: all that must be known to go on exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from gputrain.engine.checkpointing.resume_position import ResumePosition, check_continuation
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.training.optim.train_step import TrainStep
from gputrain.engine.training.runtime import rng_state


def state_of(
    position: ResumePosition,
    config: RunConfig,
    images: ImageSet,
    stepper: TrainStep,
    drawn: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """A checkpoint's content: tensors and plain values only, so that ``weights_only`` loading can read it.

    `drawn`: `generator_states` of each rank, where there are several.
    """
    return {
        "position": asdict(position),
        "settings": settings.flatten(config),
        "order": _drawn_order(position, images),
        "classes": list(images.classes),
        "train_images": len(images),
        "model": stepper.network.state_dict(),
        "ema": stepper.ema.network.state_dict() if stepper.ema is not None else None,
        "optimizer": stepper.optimizer.state_dict(),
        "scaler": stepper.scaler.state_dict(),
        "parts": stepper.parts,
        # Order and augmentation are functions of (seed, epoch, index); what is left is dropout, and a person's model.
        **generator_states(),
        "of_ranks": list(drawn),
    }


def generator_states() -> dict[str, Any]:
    """Where this process's generators are, in tensors and plain values."""
    return {
        **rng_state.rng_states(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _drawn_order(position: ResumePosition, images: ImageSet) -> torch.Tensor | None:
    """What a person's sampler gave for the epoch that is under way: it need not give it again."""
    if images.user_dataset is None or not position.batch or images.user_dataset.epoch_order.epoch != position.epoch:
        return None
    return torch.from_numpy(images.user_dataset.epoch_order.indices)


def restore_order(state: dict[str, Any], images: ImageSet) -> None:
    """Let the epoch go on in the order in which it began, whatever a person's sampler would give now."""
    order = state.get("order")
    if images.user_dataset is not None and order is not None:
        images.user_dataset.epoch_order.epoch, images.user_dataset.epoch_order.indices = (
            state["position"]["epoch"],
            order.numpy(),
        )


def restore(state: dict[str, Any], stepper: TrainStep, rank: int = 0) -> ResumePosition:
    """Put a checkpoint's content back, which `check` has passed, in the process of `rank`."""
    stepper.network.load_state_dict(state["model"])
    if stepper.ema is not None:
        stepper.ema.network.load_state_dict(state["ema"] or state["model"])
    _restore_optimizer(stepper.optimizer, state["optimizer"])
    if stepper.scaler.is_enabled() and state["scaler"]:
        stepper.scaler.load_state_dict(state["scaler"])
    stepper.parts = state["parts"]
    drawn = state["of_ranks"][rank] if state.get("of_ranks") else state
    rng_state.restore_rng_states(drawn)
    if torch.cuda.is_available() and len(drawn["cuda_rng"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(drawn["cuda_rng"])
    return ResumePosition(**state["position"])


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load its averages, and keep its settings (decay, momentum, kernels), which may have been changed."""
    own = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, values in zip(optimizer.param_groups, own, strict=True):
        group.update(values)


def check(state: dict[str, Any], config: RunConfig, images: ImageSet) -> list[str]:
    """What settings that differ from the checkpoint's do to the run, a sentence each.

    Raises BadInput naming settings or data that can't change on the way.
    """
    return check_continuation(state, settings.flatten(config), images.classes, len(images))
