"""The contract between the training loop and what is learned: targets, loss, metrics, and what is best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import dataset_compatibility, settings
from gputrain.engine.configuration.dataset_compatibility import Off
from gputrain.engine.configuration.run_config import RunConfig

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(outputs, targets) of a batch → its mean loss, a scalar on their device."""


class Scores(Protocol):
    """The sums of one validation. They stay on the device until `metrics` is called."""

    def add(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Take in one batch: float32 outputs of the network, and the targets. Waits for nothing."""
        ...

    def state(self) -> Any:
        """What `merge` needs, on the host; the device is waited for."""
        ...

    def merge(self, state: Any) -> None:
        """Take in what another rank has added."""
        ...

    def metrics(self) -> dict[str, float]:
        """All metrics by name, ``loss`` and the task's own among them; the one time that the device is waited for."""
        ...


class Task(Protocol):
    """What a network is to learn from the images of a data set."""

    metric: str
    """The metric that decides which checkpoint is the best."""
    higher_is_better: bool
    """Whether more of that metric is better (an accuracy), or less (an error)."""
    outputs: int
    """Numbers that the network puts out for one sample."""
    group: int
    """Images of one sample; above 1 the network gets them as (N, group, 3, H, W)."""

    def check(self, config: RunConfig) -> None:
        """Raises BadInput for settings that the task has no meaning for."""
        ...

    def network(self, make: Callable[[int], nn.Module]) -> nn.Module:
        """The network, around that which the settings name: `make` gives it with so many outputs. Raises BadInput."""
        ...

    def targets(self, labels: torch.Tensor, flipped: torch.Tensor | None) -> torch.Tensor:
        """What the outputs are to be, for the loader's `labels` (int64, one for each image, on the device).

        `flipped` (bool, of the same shape) tells which images were mirrored on the device; None: no image was.
        """
        ...

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `Loss`: what is minimized. Pure."""
        ...

    def scores(self) -> Scores:
        """Empty sums for a validation."""
        ...


def is_better(task: Task, value: float, best: float | None) -> bool:
    """Whether `value` of the task's metric beats the `best` so far; the first one always does."""
    if best is None:
        return True
    return value > best if task.higher_is_better else value < best


def refuse(config: RunConfig, off: Off, why: str) -> None:
    """Raises BadInput for the first of the settings in `off` that has another value than there."""
    for clash in dataset_compatibility.conflicting_settings(settings.flatten(config), off, why):
        raise BadInput(clash)
