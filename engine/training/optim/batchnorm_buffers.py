"""What forward passes change of a network beside what its optimizer does: batch norm's running figures."""

from __future__ import annotations

import torch
from torch import nn


class BatchNormBuffers:
    """A network's buffers as they were when an update began, so that one that fails leaves nothing behind."""

    def __init__(self, network: nn.Module) -> None:
        of_type: dict[torch.dtype, list[torch.Tensor]] = {}
        for buffer in network.buffers():
            of_type.setdefault(buffer.dtype, []).append(buffer)
        self._buffers = list(of_type.values())
        self._kept: list[torch.Tensor] | None = None

    def begin(self) -> None:
        """Before a forward pass: keep what the first one of an update is about to change."""
        if self._kept is None:
            self._kept = [_flat(group) for group in self._buffers]

    def forget(self) -> None:
        """The update is through, or given up."""
        self._kept = None

    def put_back(self, where: torch.Tensor) -> None:
        """As they were when the update began if `where`, a bool on the device, is true; else they stay."""
        for group, kept in zip(self._buffers, self._kept or (), strict=True):
            right = torch.where(where, kept, _flat(group))
            pieces = right.split([buffer.numel() for buffer in group])
            torch._foreach_copy_(group, [piece.view(b.shape) for piece, b in zip(pieces, group, strict=True)])


def _flat(tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
