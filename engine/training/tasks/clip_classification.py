"""Clip classification task (real or fake): cross-entropy, accuracy and ROC AUC, which selects the best checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gputrain.engine.configuration.dataset_compatibility import CLIPS, WITH_CLIPS
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets.folder_layouts import CLIP_CLASSES
from gputrain.engine.training.networks.clip_network import ClipNetwork
from gputrain.engine.training.tasks.classification import Classification, ClassScores
from gputrain.engine.training.tasks.task import Scores, refuse_settings


class ClipClassification(Classification):
    """See `Task`. A sample is a clip: `frames` images of each of `streams`, all with the label of the clip."""

    metric = "auc"

    def __init__(self, streams: int, frames: int, label_smoothing: float = 0.0) -> None:
        super().__init__(CLIP_CLASSES, label_smoothing)
        self._streams = streams
        self.group = streams * frames

    def check(self, config: RunConfig) -> None:
        """See `Task`: mixing works on images, not on clips."""
        refuse_settings(config, CLIPS, WITH_CLIPS)

    def network(self, make: Callable[[int], nn.Module]) -> nn.Module:
        """See `Task`: the model of the settings is the encoder of each stream."""
        return ClipNetwork([make(self.outputs) for _ in range(self._streams)], self.outputs)

    def targets(self, labels: torch.Tensor, flipped: torch.Tensor | None) -> torch.Tensor:
        """See `Task`: one label for each clip."""
        return labels[:: self.group]

    def scores(self) -> Scores:
        """See `Task`."""
        return ClipScores()


class ClipScores:
    """See `Scores`: ``loss``, ``accuracy`` and ``auc``, the area under the ROC curve."""

    def __init__(self) -> None:
        self._classes = ClassScores()
        self._margins: list[torch.Tensor] = []
        self._targets: list[torch.Tensor] = []

    def add(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """See `Scores`."""
        self._classes.add(outputs, targets)
        self._margins.append(outputs[:, 1] - outputs[:, 0])
        self._targets.append(targets)

    def state(self) -> tuple[Any, list[torch.Tensor], list[torch.Tensor]]:
        """See `Scores`."""
        return self._classes.state(), [m.cpu() for m in self._margins], [t.cpu() for t in self._targets]

    def merge(self, state: tuple[Any, list[torch.Tensor], list[torch.Tensor]]) -> None:
        """See `Scores`."""
        classes, margins, targets = state
        self._classes.merge(classes)
        self._margins += [part.to(self._margins[0].device) if self._margins else part for part in margins]
        self._targets += [part.to(self._targets[0].device) if self._targets else part for part in targets]

    def metrics(self) -> dict[str, float]:
        """See `Scores`."""
        return {**self._classes.metrics(), "auc": auc(torch.cat(self._margins), torch.cat(self._targets))}


def auc(scores: torch.Tensor, targets: torch.Tensor) -> float:
    """The area under the ROC curve of `scores` (N,) for `targets` (N,) of 0 and 1, both of which must occur.

    By ranks (Mann and Whitney 1947); equal scores share the mean of their ranks.
    """
    _, places, counts = scores.double().unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    ranks = (last - (counts - 1) / 2).double()[places]
    positive = targets == 1
    ones = positive.sum()
    zeros = len(targets) - ones
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))
