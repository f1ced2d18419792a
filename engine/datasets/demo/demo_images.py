"""Images of the demo data set: textures and shapes over photograph-like backgrounds. NumPy and Pillow only.

A class is a pattern. Colours, light, scale, position and rotation are random for each image. Foreground and background
colours have the same distribution, so that the mean colour does not predict the class.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Plane = npt.NDArray[np.floating[Any]]

_SEED = 20_250_101
_SIZES = ((500, 375), (500, 333), (480, 360), (375, 500), (333, 500), (500, 400), (448, 448))
_SHARES = (0.5, 0.12, 0.1, 0.1, 0.06, 0.06, 0.06)
"""Widths and heights with their frequencies, as of ImageNet's photographs: most are 500 × 375."""
_QUALITY = (86, 95)


def _stripes(u: Plane, v: Plane) -> Plane:
    return np.sin(u)


def _checker(u: Plane, v: Plane) -> Plane:
    return np.sin(u) * np.sin(v) * 2


def _rings(u: Plane, v: Plane) -> Plane:
    return np.sin(np.hypot(u, v))


def _dots(u: Plane, v: Plane) -> Plane:
    return (np.cos(u) + np.cos(v)) * 1.5 - 1.2


def _waves(u: Plane, v: Plane) -> Plane:
    value: Plane = np.sin(u + 2.2 * np.sin(v * 0.6))
    return value


def _bricks(u: Plane, v: Plane) -> Plane:
    u, v = u * np.float32(0.7), v * np.float32(0.7)
    row = np.floor(v / 3)
    across = np.mod(u + np.pi * np.mod(row, 2), 2 * np.pi)
    down = np.mod(v, 3)
    return np.where((across > 0.7) & (down > 0.6), 1.0, -1.0).astype(np.float32)


def _rays(u: Plane, v: Plane) -> Plane:
    value: Plane = np.sin(12 * np.arctan2(v, u))
    return value


def _spiral(u: Plane, v: Plane) -> Plane:
    value: Plane = np.sin(np.hypot(u, v) * 0.8 + 3 * np.arctan2(v, u))
    return value


def _triangles(u: Plane, v: Plane) -> Plane:
    third = 2 * np.pi / 3
    u, v = u * np.float32(0.65), v * np.float32(0.65)
    planes = [np.sin(u * np.cos(k * third) + v * np.sin(k * third)) for k in range(3)]
    value: Plane = np.prod(np.sign(planes), axis=0).astype(np.float32)
    return value


def _grid(u: Plane, v: Plane) -> Plane:
    return np.maximum(np.cos(u), np.cos(v)) * 4 - 3.2


PATTERNS: dict[str, Callable[[Plane, Plane], Plane]] = {
    "bricks": _bricks,
    "checker": _checker,
    "dots": _dots,
    "grid": _grid,
    "rays": _rays,
    "rings": _rings,
    "spiral": _spiral,
    "stripes": _stripes,
    "triangles": _triangles,
    "waves": _waves,
}
"""Class name → pattern: > 0 is foreground, < 0 background; u and v are rotated and scaled, in radians."""
_CENTRED = ("rays", "rings", "spiral")


def draw(name: str, split: str, number: int) -> bytes:
    """Image `number` of a class and split as JPEG bytes; a pure function of its arguments."""
    key = [_SEED, sum(split.encode()), list(PATTERNS).index(name), number]
    rng = np.random.default_rng(key)
    width, height = _SIZES[rng.choice(len(_SIZES), p=_SHARES)]
    # Planes of colour, changed in place: with the colours innermost, NumPy takes twice as long.
    figure = _cover(name, width, height, rng)
    picture, ground = _surface(width, height, rng), _surface(width, height, rng)
    picture *= figure
    ground *= np.subtract(1, figure, out=figure)
    picture += ground
    picture *= _light(width, height, rng)
    noise = rng.standard_normal((height, width), np.float32)
    noise *= rng.uniform(3, 10)
    picture += noise
    image = Image.fromarray(np.clip(picture, 0, 255, out=picture).astype(np.uint8).transpose(1, 2, 0).copy())
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(*_QUALITY)))
    return file.getvalue()


def _cover(name: str, width: int, height: int, rng: np.random.Generator) -> Plane:
    """(height, width), 0…1: the foreground's opacity. Edges are soft over about a pixel."""
    turn = rng.uniform(0, 2 * np.pi)
    # 7 to 13 periods along the longer side: several remain in a crop of a third of the area.
    scale = 2 * np.pi * rng.uniform(7, 13) / max(width, height)
    aspect = rng.uniform(0.8, 1.25)
    x = (np.arange(width, dtype=np.float32) - width * rng.uniform(0.35, 0.65)) * np.float32(scale * aspect)
    y = (np.arange(height, dtype=np.float32) - height * rng.uniform(0.35, 0.65)) * np.float32(scale / aspect)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    u = x[None, :] * cos + y[:, None] * sin
    v = y[:, None] * cos - x[None, :] * sin
    if name not in _CENTRED:
        u += np.float32(rng.uniform(0, 6.3))
        v += np.float32(rng.uniform(0, 6.3))
    # A slight warp, as of cloth or a wall seen at an angle.
    warp = _clouds(width, height, 4, rng) * np.float32(rng.uniform(0.2, 0.9))
    value = PATTERNS[name](u + warp, v + warp)
    cover: Plane = np.clip(value * 2.5 + 0.5, 0, 1).astype(np.float32)
    return cover


def _surface(width: int, height: int, rng: np.random.Generator) -> Plane:
    """(3, height, width): a colour that varies as stone, cloth or foliage does."""
    colour = rng.uniform(25, 230, 3).astype(np.float32)
    coarse = _clouds(width, height, int(rng.integers(3, 9)), rng) * np.float32(rng.uniform(10, 40))
    fine = _clouds(width, height, int(rng.integers(30, 90)), rng) * np.float32(rng.uniform(4, 22))
    tint = rng.uniform(0.7, 1.3, 3).astype(np.float32)
    coarse += fine
    surface = coarse * tint[:, None, None]
    surface += colour[:, None, None]
    return surface


def _clouds(width: int, height: int, cells: int, rng: np.random.Generator) -> Plane:
    """(height, width): smooth noise around 0 with `cells` features along the longer side."""
    longer = max(width, height)
    shape = (max(2, cells * height // longer), max(2, cells * width // longer))
    small = Image.fromarray(rng.standard_normal(shape, np.float32))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.float32)


def _light(width: int, height: int, rng: np.random.Generator) -> Plane:
    """(height, width), about 1: light from one side."""
    x = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(rng.uniform(-0.35, 0.35))
    y = np.linspace(-1, 1, height, dtype=np.float32) * np.float32(rng.uniform(-0.35, 0.35))
    return np.float32(rng.uniform(0.8, 1.15)) + x[None, :] + y[:, None]
