"""How large a raw cache keeps images, so that what is cut from them is not made of too few pixels. Pure.

A crop of share s of an image whose short side is r has a short side of about r√s, and is resized to image_size: kept
smaller than image_size / √s, it is blown up from fewer pixels than its file has. Kept for the mean crop, small textures
lost 2.4 % of accuracy (docs/benchmarks.md), so the bound is the smallest crop's: 792 for ImageNet's 8 % of the area,
above the size of most of its files, which are kept as they are. FFCV's recipes for it keep as much (max_res 500 for the
long side: https://docs.ffcv.io/, rn50_configs).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def resolution(values: Mapping[str, Any], *, train: bool, part: float = 1.0) -> int:
    """Short side in pixels at which a raw cache keeps the images of a split.

    `values` are the settings by name; `part` is what of an image's short side is used at all (faces in pictures).
    Validation sees the centre at one size: its images are kept at that size exactly, as without a cache.
    """
    shown: int = max(values["val_resize"], values["image_size"])
    asked: int = values["cache_resolution"]
    if train and asked:
        return max(shown, asked)
    if train and values["augment"] == "crop_flip":
        shown = max(shown, math.ceil(values["image_size"] / math.sqrt(values["crop_min_scale"])))
    return math.ceil(shown / part)
