"""Classification task: one class for each image; cross-entropy, accuracy, and top-5 accuracy from six classes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.training.tasks.metric_means import MetricSums
from gputrain.engine.training.tasks.task import Scores

_TOP = 5


class Classification:
    """See `Task`. The targets are the labels: classes from 0, which a flip does not change."""

    metric = "accuracy"
    higher_is_better = True
    group = 1

    def __init__(self, classes: int, label_smoothing: float = 0.0) -> None:
        self.outputs = classes
        self._smoothing = label_smoothing

    def check(self, config: RunConfig) -> None:
        """See `Task`: all augmentations keep the class, and labels can be mixed."""

    def network(self, make: Callable[[int], nn.Module]) -> nn.Module:
        """See `Task`."""
        return make(self.outputs)

    def targets(self, labels: torch.Tensor, flipped: torch.Tensor | None) -> torch.Tensor:
        """See `Task`."""
        return labels

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `Task`: cross-entropy with label smoothing."""
        return functional.cross_entropy(outputs, targets, label_smoothing=self._smoothing)

    def scores(self) -> Scores:
        """See `Task`."""
        return ClassScores()


class ClassScores(MetricSums):
    """See `Scores`: ``loss`` (without smoothing), ``accuracy`` and, from six classes on, ``accuracy_top5``."""

    def __init__(self) -> None:
        super().__init__()
        self._classes = 0

    def add(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """See `Scores`."""
        loss = functional.cross_entropy(outputs, targets, reduction="sum")
        best = outputs.topk(min(_TOP, outputs.shape[1]), dim=1).indices == targets[:, None]
        self.add_sums(torch.stack((loss, best[:, 0].sum(), best.sum())).double(), len(targets))
        self._classes = outputs.shape[1]

    def state(self) -> Any:
        """See `Scores`."""
        return super().state(), self._classes

    def merge(self, state: Any) -> None:
        """See `Scores`."""
        sums, classes = state
        super().merge(sums)
        self._classes = max(self._classes, classes)

    def metrics(self) -> dict[str, float]:
        """See `Scores`."""
        loss, top1, top5 = self.means()
        metrics = {"loss": loss, "accuracy": top1}
        if self._classes > _TOP:
            metrics["accuracy_top5"] = top5
        return metrics
