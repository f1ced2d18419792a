"""Small pictures with smooth areas, edges and noise, and folders of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture with four different corners."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [255 * x / width, 255 * y / height, 255 * (np.hypot(x - width / 2, y - height / 3) < height / 4)]
    pixels: npt.NDArray[np.float64] = np.stack(planes, axis=-1) * 0.8 + random.normal(20, 6, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture whose amplitudes fall about as 1/f, as those of natural images do, with less of it in the colours."""
    random = np.random.default_rng(seed)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    falloff = np.maximum(radius, 1 / max(width, height)) ** -1.2
    phases = np.exp(2j * np.pi * random.random((3, *falloff.shape)))
    planes = np.fft.irfft2(falloff * phases, s=(height, width), axes=(1, 2))
    luma, blue, red = planes / planes.std(axis=(1, 2), keepdims=True)
    pixels = 120 + 45 * luma[..., None] + np.stack([14 * red, -6 * red - 5 * blue, 14 * blue], axis=-1)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """The image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 90} if kind == "JPEG" else {}) | options)
    return file.getvalue()


def folder(home: Path, split: str = "train", classes: int = 3, per_class: int = 8) -> Path:
    """``home/split/class_<n>/<m>.jpg``, of various sizes."""
    for label in range(classes):
        place = home / split / f"class_{label}"
        place.mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            seed = label * per_class + number
            (place / f"{number:03d}.jpg").write_bytes(encoded(picture(90 + 7 * (seed % 9), 70 + 5 * (seed % 7), seed)))
    return home
