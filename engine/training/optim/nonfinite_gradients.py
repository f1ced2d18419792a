"""What keeps an update whose loss or gradients are no numbers from changing anything (``nonfinite_loss=skip``)."""

from __future__ import annotations

import math

import torch
from torch import nn


class NonFiniteGradientGuard:
    """Judges each update on its device. With a fused optimizer, whose kernel can be told there not to write, the host
    never waits for the verdict; with another one on a GPU it waits at each update, as torch's GradScaler does.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._fused = all(group.get("fused") for group in optimizer.param_groups)

    @property
    def waits(self) -> bool:
        """On a GPU the host waits for each verdict."""
        return not self._fused

    def judge(self, norm: torch.Tensor | None) -> torch.Tensor:
        """Whether the update has to be skipped: a bool on the device. `norm` is the gradients', where it is known."""
        if norm is None:
            gradients = [
                p.grad for group in self._optimizer.param_groups for p in group["params"] if p.grad is not None
            ]
            # The largest: unlike a sum of squares it overflows only where a gradient does.
            norm = nn.utils.get_total_norm(gradients, math.inf)
        return norm.isfinite().logical_not_()

    def update(self, skip: torch.Tensor) -> None:
        """Do the optimizer's update unless it is to be skipped."""
        if self._fused:
            self._optimizer.found_inf = skip.float()  # type: ignore[attr-defined]
            self._optimizer.step()
        elif not skip:
            self._optimizer.step()


def seed(loss: torch.Tensor) -> torch.Tensor:
    """Gradient to start a backward pass from: 1, or NaN where the loss is no number, so that its gradients are none."""
    return loss.detach() * 0 + 1
