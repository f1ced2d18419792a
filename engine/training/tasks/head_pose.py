"""Head pose task: yaw, pitch and roll in degrees; loss and metric are the mean absolute error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gputrain.engine.configuration.dataset_compatibility import POSES, WITH_POSES
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.training.tasks.metric_means import MetricSums
from gputrain.engine.training.tasks.task import Scores, refuse_settings

ANGLES = ("yaw", "pitch", "roll")
"""The network's outputs, in degrees."""
LIMIT = 99.0
"""Largest absolute angle; images beyond it are left out, as in Ruiz et al. 2018 (arXiv:1710.00925)."""
_MIRRORED = (-1.0, 1.0, -1.0)
"""Factors of the angles in a mirrored image."""


class HeadPose:
    """See `Task`. The labels are rows of a table of angles."""

    metric = "mae"
    higher_is_better = False
    outputs = len(ANGLES)
    group = 1

    def __init__(self, angles: npt.NDArray[np.float32]) -> None:
        """`angles`: (M, 3) in degrees, of the training images and those of validation."""
        self._angles = torch.from_numpy(angles)
        self._mirrored = torch.tensor(_MIRRORED)

    def check(self, config: RunConfig) -> None:
        """See `Task`: mixing labels or rotating images would make the angles wrong."""
        refuse_settings(config, POSES, WITH_POSES)

    def network(self, make: Callable[[int], nn.Module]) -> nn.Module:
        """See `Task`."""
        return make(self.outputs)

    def targets(self, labels: torch.Tensor, flipped: torch.Tensor | None) -> torch.Tensor:
        """See `Task`: (N, 3) degrees; in a mirrored image yaw and roll have the other sign."""
        self._angles = self._angles.to(labels.device)
        angles = self._angles[labels]
        if flipped is None:
            return angles
        self._mirrored = self._mirrored.to(labels.device)
        return torch.where(flipped[:, None], angles * self._mirrored, angles)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `Task`: the mean absolute error over images and angles, in degrees."""
        return (outputs.float() - targets).abs().mean()

    def scores(self) -> Scores:
        """See `Task`."""
        return AngleErrors()


class AngleErrors(MetricSums):
    """See `Scores`: ``mae`` in degrees over all angles (also the loss), ``mae_yaw``, ``mae_pitch``, ``mae_roll``."""

    def add(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """See `Scores`."""
        self.add_sums((outputs - targets).abs().double().sum(0), len(targets))

    def metrics(self) -> dict[str, float]:
        """See `Scores`."""
        errors = self.means()
        mean = sum(errors) / len(errors)
        each = {f"mae_{name}": error for name, error in zip(ANGLES, errors, strict=True)}
        return {"loss": mean, "mae": mean, **each}
