"""The smallest data set that can be trained on: real JPEG files, two classes, two splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 40


def dark_and_light(root: Path, per_class: int) -> Path:
    """Write ``root/{train,val}/{dark,light}/N.jpg``; returns `root`."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name, mean in (("dark", 80), ("light", 170)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(per_class):
                pixels = rng.normal(mean, 30, (SIDE, SIDE, 3)).clip(0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.jpg")
    return root
