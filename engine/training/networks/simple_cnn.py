"""A small convolutional network that learns image classes in minutes on a CPU."""

from __future__ import annotations

import torch
from torch import nn


class SimpleCNN(nn.Module):
    """Four stages of 3×3 convolutions with batch norm, each halving the image; global pooling; one linear layer.

    Input (N, 3, H, W) with H, W ≥ 32, output (N, classes). `width` channels in the first stage, doubled in each
    of the next two.
    """

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__()
        sizes = (width, 2 * width, 4 * width, 4 * width)
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        stages = []
        before = width
        for size in sizes:
            stages.append(_stage(before, size))
            before = size
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(before, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores, (N, classes)."""
        features = self.stages(self.stem(images)).mean(dim=(2, 3))
        scores: torch.Tensor = self.head(features)
        return scores


def _stage(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2, ceil_mode=True),
    )
