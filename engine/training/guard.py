"""What keeps an update whose loss or gradients are no numbers from changing anything (``nonfinite_loss=skip``)."""

from __future__ import annotations

import math

import torch
from torch import nn


class Guard:
    """Judges each update on its device. With a fused optimizer, whose kernel can be told there not to write, the host
    never waits for the verdict; with another one on a GPU it waits at each update, as torch's GradScaler does.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._fused = all(group.get("fused") for group in optimizer.param_groups)
        # What forward passes change: the running figures of batch norm.
        of_type: dict[torch.dtype, list[torch.Tensor]] = {}
        for buffer in network.buffers():
            of_type.setdefault(buffer.dtype, []).append(buffer)
        self._buffers = list(of_type.values())
        self._kept: list[torch.Tensor] | None = None

    @property
    def waits(self) -> bool:
        """On a GPU the host waits for each verdict."""
        return not self._fused

    def begin(self) -> None:
        """Before a forward pass: keep what the first one of an update is about to change."""
        if self._kept is None:
            self._kept = [_flat(group) for group in self._buffers]

    def forget(self) -> None:
        """The update is through, or given up."""
        self._kept = None

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
        """Do the optimizer's update unless it is to be skipped; then put back what the forward passes changed."""
        if self._fused:
            self._optimizer.found_inf = skip.float()  # type: ignore[attr-defined]
            self._optimizer.step()
        elif not skip:
            self._optimizer.step()
        for group, kept in zip(self._buffers, self._kept or (), strict=True):
            right = torch.where(skip, kept, _flat(group))
            pieces = right.split([buffer.numel() for buffer in group])
            torch._foreach_copy_(group, [piece.view(b.shape) for piece, b in zip(pieces, group, strict=True)])


def seed(loss: torch.Tensor) -> torch.Tensor:
    """Gradient to start a backward pass from: 1, or NaN where the loss is no number, so that its gradients are none."""
    return loss.detach() * 0 + 1


def _flat(tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
