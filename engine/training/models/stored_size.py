"""Image size for which weights were trained, from the shape of their position embedding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch

_PREFIX_TOKENS = ("cls_token", "dist_token", "reg_token")
_PATCHES_ONLY = frozenset(f"patch_embed.{part}" for part in ("proj.weight", "proj.bias", "norm.weight", "norm.bias"))
"""Parameters of a patch embedding of one convolution: its kernel is the patch."""
_WINDOW_TABLE = "attn.relative_position_bias_table"
_SWIN_STRIDE = 32
"""Pixels of an image for each position in Swin's last stage."""


class StoredSize(NamedTuple):
    """An image size, and what shows it."""

    size: int
    """The smallest with this grid."""
    origin: str
    patch: int
    """Pixels of a position: a remainder of the image that fills none leaves no trace in the weights."""

    def admits(self, size: int) -> bool:
        """Whether images of `size` have this grid, as 384 and 378 have 27 patches of 14 pixels."""
        return self.size <= size < self.size + self.patch


def stored_size(tensors: Mapping[str, torch.Tensor], model: str) -> StoredSize | None:
    """The image size of weights of a ViT, or of timm's Swin; None if their shapes don't show it."""
    return _torchvision_vit(tensors) or _timm_vit(tensors) or (_swin(tensors) if "/swin_" in model else None)


def _named(tensors: Mapping[str, torch.Tensor], name: str) -> tuple[str, torch.Tensor] | None:
    """Prefix and tensor of the only entry that ends in `name`."""
    found = [key for key in tensors if key == name or key.endswith(f".{name}")]
    return (found[0].removesuffix(name), tensors[found[0]]) if len(found) == 1 else None


def _torchvision_vit(tensors: Mapping[str, torch.Tensor]) -> StoredSize | None:
    found = _named(tensors, "encoder.pos_embedding")
    if found is None or (patches := tensors.get(f"{found[0]}conv_proj.weight")) is None:
        return None
    return _of_grid(found[1], 1, patches)


def _timm_vit(tensors: Mapping[str, torch.Tensor]) -> StoredSize | None:
    found = _named(tensors, "pos_embed")
    if found is None:
        return None
    prefix, positions = found
    parts = {name.removeprefix(prefix) for name in tensors if name.startswith(f"{prefix}patch_embed.")}
    if not parts or parts - _PATCHES_ONLY:
        return None
    tokens = [tensors[name] for one in _PREFIX_TOKENS if (name := f"{prefix}{one}") in tensors]
    before = sum(token.shape[1] for token in tokens if token.ndim == 3)
    return _of_grid(positions, before, tensors[f"{prefix}patch_embed.proj.weight"])


def _of_grid(positions: torch.Tensor, before: int, patches: torch.Tensor) -> StoredSize | None:
    """`positions`: (1, tokens, channels), or (1, rows, columns, channels); `before`: tokens that are no patches."""
    if patches.ndim != 4 or patches.shape[2] != patches.shape[3]:
        return None
    if positions.ndim == 4 and positions.shape[1] == positions.shape[2]:
        side = positions.shape[1]
    elif positions.ndim == 3:
        # Some models embed the positions of patches only.
        side = _root(positions.shape[1] - before) or _root(positions.shape[1])
    else:
        side = 0
    return _sized(side, patches.shape[2], "position embedding") if side else None


def _root(count: int) -> int:
    """The side of a square of `count` patches; 0 if it is none."""
    side = math.isqrt(max(0, count))
    return side if side * side == count else 0


def _swin(tensors: Mapping[str, torch.Tensor]) -> StoredSize | None:
    """The last stage's window covers the whole image."""
    stages = {name: table for name, table in tensors.items() if name.endswith(_WINDOW_TABLE) and "layers." in name}
    if not stages:
        return None
    table = stages[max(stages, key=lambda name: int(name.rpartition("layers.")[2].partition(".")[0]))]
    side = _root(table.shape[0])
    return _sized((side + 1) // 2, _SWIN_STRIDE, "window of the last stage") if side else None


def _sized(side: int, patch: int, origin: str) -> StoredSize:
    return StoredSize(side * patch, f"its {origin} ({side} × {side} of {patch} pixels)", patch)
