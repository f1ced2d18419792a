"""Regression task: numbers for each image; the loss is the mean squared error, the metric the mean absolute error."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.training.tasks.metric_means import MetricSums
from gputrain.engine.training.tasks.task import Scores, refuse_settings


class Regression:
    """See `Task`. The labels are the target numbers, (N,) or (N, outputs)."""

    metric = "mae"
    higher_is_better = False
    group = 1

    def __init__(self, outputs: int) -> None:
        self.outputs = outputs

    def check(self, config: RunConfig) -> None:
        """See `Task`."""
        refuse_settings(config, {"label_smoothing": 0.0}, "is for classes")

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
        return RegressionErrors()


class RegressionErrors(MetricSums):
    """See `Scores`: ``loss``, the mean squared error, and ``mae``, the mean absolute error."""

    def add(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """See `Scores`."""
        errors = (outputs.view_as(targets) - targets).double()
        self.add_sums(torch.stack((errors.square().sum(), errors.abs().sum())), targets.numel())

    def metrics(self) -> dict[str, float]:
        """See `Scores`."""
        squared, absolute = self.means()
        return {"loss": squared, "mae": absolute}
