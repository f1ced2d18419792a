"""Folders of frames by clip and quality, in miniature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 32


def draw(home: Path, *, streams: tuple[str, ...] = ("high", "low"), clips_each: int = 5) -> Path:
    """``home/{train,val}/{fake,real}/<clip>/<stream>/<frame>.png``: clips of 2 to 6 frames, each of its own colour."""
    rng = np.random.default_rng(9)
    for split in ("train", "val"):
        for name in ("fake", "real"):
            for number in range(clips_each):
                count = 2 + number
                for stream in streams:
                    folder = home / split / name / f"{name}{number}" / stream
                    folder.mkdir(parents=True)
                    for frame in range(count):
                        colour = rng.integers(0, 256, (4, 4, 3)).astype(np.uint8)
                        picture = Image.fromarray(colour).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
                        picture.save(folder / f"{frame:04d}.png")
    return home
