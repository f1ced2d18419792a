"""The resolution at which a raw image cache stores images, so that random crops are not upscaled. Pure.

A crop of area share s of an image with short side r has a short side of about r√s and is resized to image_size. An
image stored smaller than image_size / √s is upscaled, although its file has more pixels. Stored for the mean crop,
small textures lost 2.4 % of accuracy (docs/benchmarks.md), so the bound is the smallest crop: 792 for ImageNet's 8 % of
the area. Most ImageNet files are smaller and are stored at their own size. FFCV's recipes store a similar size (max_res
500 for the long side: https://docs.ffcv.io/, rn50_configs).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def resolution(values: Mapping[str, Any], *, train: bool, part: float = 1.0) -> int:
    """Short side in pixels at which a raw cache stores the images of a split.

    `values` are the settings by name; `part` is the used share of an image's short side (a face box in a picture).
    Validation images are stored at exactly the size that validation uses.
    """
    shown: int = max(values["val_resize"], values["image_size"])
    asked: int = values["cache_resolution"]
    if train and asked:
        return max(shown, asked)
    if train and values["augment"] == "crop_flip":
        shown = max(shown, math.ceil(values["image_size"] / math.sqrt(values["crop_min_scale"])))
    return math.ceil(shown / part)
