"""The interface between the training loop and a task: network head, targets, loss, metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import dataset_compatibility, settings
from gputrain.engine.configuration.dataset_compatibility import Off
from gputrain.engine.configuration.setting_definitions import RunConfig

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(outputs, targets) of a batch → its mean loss, a scalar on their device."""


class Scores(Protocol):
    """Sums of one validation, which stay on the device until `metrics` is called."""

    def add(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Add one batch: float32 outputs of the network, and the targets. Does not wait for the device."""
        ...

    def state(self) -> Any:
        """What `merge` needs, on the host; waits for the device."""
        ...

    def merge(self, state: Any) -> None:
        """Add the `state` of another rank."""
        ...

    def metrics(self) -> dict[str, float]:
        """All metrics by name, with ``loss`` and the task's own; waits for the device."""
        ...


class Task(Protocol):
    """What a network learns from the images of a data set."""

    metric: str
    """The metric that selects the best checkpoint."""
    higher_is_better: bool
    """True for an accuracy, false for an error."""
    outputs: int
    """Outputs of the network for one sample."""
    group: int
    """Images of one sample; above 1 the network takes (N, group, 3, H, W)."""

    def check(self, config: RunConfig) -> None:
        """Raises BadInput for settings that the task does not support."""
        ...

    def network(self, make: Callable[[int], nn.Module]) -> nn.Module:
        """The task's network. `make(outputs)` builds the model that the settings name. Raises BadInput."""
        ...

    def targets(self, labels: torch.Tensor, flipped: torch.Tensor | None) -> torch.Tensor:
        """Training targets for the loader's `labels` (int64, one for each image, on the device).

        `flipped` (bool, same shape): images that were mirrored on the device; None: no image was.
        """
        ...

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `Loss`."""
        ...

    def scores(self) -> Scores:
        """Empty sums for a validation."""
        ...


def is_better(task: Task, value: float, best: float | None) -> bool:
    """Whether `value` of the task's metric is better than the `best` so far; None: there is no best yet."""
    if best is None:
        return True
    return value > best if task.higher_is_better else value < best


def refuse_settings(config: RunConfig, off: Off, why: str) -> None:
    """Raises BadInput for the first setting in `off` whose value differs from the one in `off`."""
    for clash in dataset_compatibility.conflicting_settings(settings.flatten(config), off, why):
        raise BadInput(clash)
