"""Tensors that may be divided among ranks (DTensor): the whole of one, or this rank's part."""

from __future__ import annotations

import sys

import torch

from gputrain.engine.training.distributed.process_group import collective_errors


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor that may be divided among the ranks, which all have to call this. Raises RankLostError."""
    if not _is_divided(tensor):
        return tensor
    with collective_errors():
        found: torch.Tensor = tensor.full_tensor()  # type: ignore[attr-defined]
        return found


def own_part(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's part of a tensor, in the same memory; a tensor that is not divided is its own part."""
    local: torch.Tensor = tensor.to_local() if _is_divided(tensor) else tensor  # type: ignore[attr-defined]
    return local


def _is_divided(tensor: torch.Tensor) -> bool:
    # Imported by those that divide one only: every trainer would wait for it.
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)
