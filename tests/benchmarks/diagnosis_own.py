"""User-defined models with typical mistakes on a GPU (``model=diagnosis_own:synced``)."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision import models

_ROOM = 3 << 30
"""Bytes of the GPU's memory that `crowded` leaves for the training."""
_SCRATCH = (200, 900)
"""Mebibytes of its scratch tensors, at least and at most: no two fit in each other's place."""


class _Watched(nn.Module):
    """A model that reads its activations on the host in every step, so that the GPU waits."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.inner = models.resnet50(num_classes=outputs)
        self.seen: list[float] = []
        for stage in (self.inner.layer2, self.inner.layer3, self.inner.layer4):
            stage.register_forward_hook(self._look)

    def _look(self, module: nn.Module, given: Any, made: torch.Tensor) -> None:
        values = made.detach().float().cpu().numpy()
        self.seen = [float(one) for one in np.percentile(values[:16], (1, 50, 99))]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Classes of `images`."""
        return self.inner(images)  # type: ignore[no-any-return]


class _Crowded(nn.Module):
    """A model that fills the GPU's memory, and allocates and frees blocks of many sizes."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.inner = models.resnet50(num_classes=outputs)
        self._dice = random.Random(0)
        self._ballast: torch.Tensor | None = None
        self._pieces: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Classes of `images`."""
        if images.is_cuda:
            if self._ballast is None:
                free, _ = torch.cuda.mem_get_info(images.device)
                self._ballast = torch.empty(max(0, free - _ROOM), dtype=torch.uint8, device=images.device)
            size = self._dice.randint(*_SCRATCH) << 20
            self._pieces = [*self._pieces[-1:], torch.empty(size, dtype=torch.uint8, device=images.device)]
        return self.inner(images)  # type: ignore[no-any-return]


def synced(outputs: int) -> nn.Module:
    """See `_Watched`."""
    return _Watched(outputs)


def crowded(outputs: int) -> nn.Module:
    """See `_Crowded`."""
    return _Crowded(outputs)
