"""Non-finite gradient guard: skips updates with NaN or Inf loss or gradients (``nonfinite_loss=skip``)."""

from __future__ import annotations

import math

import torch
from torch import nn

from gputrain.engine.training.distributed.divided_tensor import whole
from gputrain.engine.training.optim.optimizers import own_optimizer


class NonFiniteGradientGuard:
    """Checks each update on its device. A fused optimizer's kernel reads the skip flag on the device, so the host never
    waits. Other optimizers wait at each update on a GPU, as torch's GradScaler does.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._fused = all(group.get("fused") for group in optimizer.param_groups)

    @property
    def waits(self) -> bool:
        """Whether the host waits for the flag of each update."""
        return not self._fused

    def should_skip(self, norm: torch.Tensor | None) -> torch.Tensor:
        """Whether to skip the update: a bool on the device. `norm`: the gradient norm, if already computed."""
        if norm is None:
            gradients = [
                p.grad for group in self._optimizer.param_groups for p in group["params"] if p.grad is not None
            ]
            # The maximum norm: unlike a sum of squares it overflows only where a gradient does.
            norm = whole(nn.utils.get_total_norm(gradients, math.inf))
        return norm.isfinite().logical_not_()

    def update(self, skip: torch.Tensor) -> None:
        """Run the optimizer's step unless `skip` is true."""
        if self._fused:
            own_optimizer(self._optimizer).found_inf = skip.float()  # type: ignore[attr-defined]
            self._optimizer.step()
        elif not skip:
            self._optimizer.step()


def initial_gradient(loss: torch.Tensor) -> torch.Tensor:
    """Initial gradient of a backward pass: 1, or NaN for a NaN or Inf loss, so that all gradients become NaN."""
    return loss.detach() * 0 + 1
