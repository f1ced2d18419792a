"""BatchNorm buffers (running mean and variance): restores them after an update that failed or was skipped."""

from __future__ import annotations

import torch
from torch import nn


class BatchNormBuffers:
    """Keeps a copy of a network's buffers from the start of an update."""

    def __init__(self, network: nn.Module) -> None:
        of_type: dict[torch.dtype, list[torch.Tensor]] = {}
        for buffer in network.buffers():
            of_type.setdefault(buffer.dtype, []).append(buffer)
        self._buffers = list(of_type.values())
        self._kept: list[torch.Tensor] | None = None

    def begin(self) -> None:
        """Call before each forward pass; copies the buffers before the first one of an update."""
        if self._kept is None:
            self._kept = [_flat(group) for group in self._buffers]

    def forget(self) -> None:
        """Drop the copy: the update is done or discarded."""
        self._kept = None

    def put_back(self, where: torch.Tensor) -> None:
        """Restore the buffers if `where`, a bool on the device, is true."""
        for group, kept in zip(self._buffers, self._kept or (), strict=True):
            restored = torch.where(where, kept, _flat(group))
            pieces = restored.split([buffer.numel() for buffer in group])
            torch._foreach_copy_(group, [piece.view(b.shape) for piece, b in zip(pieces, group, strict=True)])


def _flat(tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
