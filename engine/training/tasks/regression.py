"""Numbers for each image: the mean squared error is learned, the mean absolute error judges."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.training.tasks.metric_means import MetricMeans
from gputrain.engine.training.tasks.task import Scores, refuse


class Regression:
    """See `Task`. The labels are the numbers themselves, (N,) or (N, outputs)."""

    metric = "mae"
    higher_is_better = False
    group = 1

    def __init__(self, outputs: int) -> None:
        self.outputs = outputs

    def check(self, config: RunConfig) -> None:
        """See `Task`."""
        refuse(config, {"label_smoothing": 0.0}, "is for classes")

    def network(self, make: Callable[[int], nn.Module]) -> nn.Module:
        """See `Task`."""
        return make(self.outputs)

    def targets(self, labels: torch.Tensor, flipped: torch.Tensor | None) -> torch.Tensor:
        """See `Task`."""
        return labels

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `Task`: the mean squared error."""
        return (outputs.float().view_as(targets) - targets).square().mean()

    def scores(self) -> Scores:
        """See `Task`."""
        return Errors()


class Errors:
    """See `Scores`: ``loss``, the mean squared error, and ``mae``, the mean absolute one."""

    def __init__(self) -> None:
        self._errors = MetricMeans()

    def add(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """See `Scores`."""
        errors = (outputs.view_as(targets) - targets).double()
        self._errors.add(torch.stack((errors.square().sum(), errors.abs().sum())), targets.numel())

    def state(self) -> tuple[torch.Tensor | None, int]:
        """See `Scores`."""
        return self._errors.state()

    def merge(self, state: tuple[torch.Tensor | None, int]) -> None:
        """See `Scores`."""
        self._errors.merge(state)

    def metrics(self) -> dict[str, float]:
        """See `Scores`."""
        squared, absolute = self._errors.take()
        return {"loss": squared, "mae": absolute}
