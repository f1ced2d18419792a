"""Where a run is: all that must be known, beside weights and optimizer, to go on exactly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from gputrain.engine import settings
from gputrain.engine.config import RunConfig
from gputrain.engine.errors import BadInput

# With another value of these the order of samples, the shape of the weights or the course of the updates
# would be another: the run would not be a continuation.
FIXED = (
    "dataset", "train_split", "image_size", "augment", "crop_min_scale", "batch_size", "model", "width", "optimizer",
    "accumulation_steps", "seed",
)  # fmt: skip


@dataclass(slots=True)
class Position:
    """Steps and batches that are done; the next batch is number `batch` of epoch `epoch`."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    images: int = 0
    updates: int = 0
    best: float | None = None
    loss_sum: float = 0.0
    """Sum of the losses of this epoch's steps so far, for its mean."""
    loss_steps: int = 0


def state_of(
    position: Position,
    config: RunConfig,
    classes: tuple[str, ...],
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> dict[str, Any]:
    """A checkpoint's content: tensors and plain values only, so that ``weights_only`` loading can read it."""
    return {
        "position": asdict(position),
        "settings": settings.flatten(config),
        "classes": list(classes),
        "model": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        # Order and augmentation are functions of (seed, epoch, index); what is left is dropout.
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore(
    state: dict[str, Any],
    config: RunConfig,
    classes: tuple[str, ...],
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> Position:
    """Put a checkpoint's content back. Raises BadInput naming settings that can't change on the way."""
    _check_same(state, config, classes)
    network.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    if scaler.is_enabled() and state["scaler"]:
        scaler.load_state_dict(state["scaler"])
    torch.set_rng_state(state["torch_rng"])
    if torch.cuda.is_available() and len(state["cuda_rng"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    return Position(**state["position"])


def _check_same(state: dict[str, Any], config: RunConfig, classes: tuple[str, ...]) -> None:
    now = settings.flatten(config)
    for name in FIXED:
        before = state["settings"].get(name, now[name])
        if before != now[name]:
            raise BadInput(
                f"resume_from: {name} was {before} and is {now[name]}; a run can't go on with another one: "
                f"set {name}={before}, or take the weights alone: weights=FILE"
            )
    if list(classes) != state["classes"]:
        raise BadInput("resume_from: the data have other classes than the run that is to go on")
