"""Photograph-like JPEGs for the benchmarks: generated once, byte for byte equal with the same libraries."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

CLASSES = 20
"""Class folders that the images are spread over."""


def photograph(random: np.random.Generator, width: int, height: int) -> npt.NDArray[np.uint8]:
    """A picture of shape (height, width, 3): smooth areas and edges, with the 1/f spectrum of natural images and noise.

    Photographs' amplitude falls about as 1/f (Field 1987); the noise is a camera's, so that a JPEG of quality 90
    has about the 100 KB of an ImageNet file.
    """
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    radius = np.maximum(np.hypot(fy, fx), 1 / max(width, height))
    falloff = (radius ** -random.uniform(1.0, 1.4)).astype(np.float32)
    planes = []
    for _ in range(3):
        phase = random.random(falloff.shape, dtype=np.float32) * np.float32(2 * np.pi)
        plane = np.fft.irfft2(falloff * np.exp(np.complex64(1j) * phase), s=(height, width))
        planes.append(plane / plane.std())
    luma, blue, red = planes
    y, x = np.ogrid[0:height, 0:width]
    for _ in range(4):
        cx, cy, r = random.uniform(0, width), random.uniform(0, height), random.uniform(20, height / 2)
        luma[(x - cx) ** 2 + (y - cy) ** 2 < r**2] += random.normal(0, 0.8)
    grey = 120 + 45 * luma
    picture = np.stack([grey + 14 * red, grey - 6 * red - 5 * blue, grey + 14 * blue], axis=-1)
    picture += 4 * random.standard_normal(picture.shape, dtype=np.float32)
    return picture.clip(0, 255).astype(np.uint8)


def draw(folder: Path, count: int, size: tuple[int, int] = (500, 375), quality: int = 90) -> Path:
    """`count` JPEGs of about `size` (width, height) under ``folder/train/<class>/``, generated unless they exist."""
    done = folder / f".complete-{count}"
    if done.exists():
        return folder
    random = np.random.default_rng(7)
    for number in range(count):
        width, height = (int(side * random.uniform(0.9, 1.1)) for side in size)
        if random.random() < 0.25:
            width, height = height, width
        home = folder / "train" / f"class_{number % CLASSES:02d}"
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(random, width, height)).save(home / f"{number:05d}.jpg", quality=quality)
    done.touch()
    return folder


def linked(folder: Path, times: int) -> Path:
    """A folder beside `folder` with `times` links to each of its images, for epochs of many batches."""
    home = folder.with_name(f"{folder.name}-{times}-times")
    for file in (folder / "train").glob("*/*.jpg"):
        target = home / "train" / file.parent.name
        target.mkdir(parents=True, exist_ok=True)
        for time in range(times):
            link = target / f"{file.stem}-{time}{file.suffix}"
            if not link.exists():
                os.link(file, link)
    return home
