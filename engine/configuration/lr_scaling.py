"""Learning-rate scaling: the peak learning rate for the number of images in one update (linear scaling rule)."""

from __future__ import annotations


def scaled_lr(lr: float, lr_batch_size: int, images_per_update: int) -> float:
    """Peak learning rate: `lr` × images_per_update / lr_batch_size (Goyal et al. 2017, arXiv:1706.02677).

    `lr_batch_size` 0 switches the scaling off.
    """
    return lr * images_per_update / lr_batch_size if lr_batch_size else lr
