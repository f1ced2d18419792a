"""300W-LP and BIWI in miniature: pictures and annotations in the layouts of the originals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image
from scipy.spatial.transform import Rotation

RGB_CAL = """517.679 0 320
0 517.679 240.5
0 0 1

0 0 0 0

0.999947 0.00432361 0.00929419
-0.00446314 0.999877 0.0150443
-0.009228 -0.015085 0.999844

-24.0198 5.8896 -13.2308

640 480
"""
"""A colour camera's calibration file, as in each sequence."""


def lp300w(home: Path) -> Path:
    """``home/300W_LP`` and ``home/AFLW2000``: one face turned too far, two pictures without a good annotation."""
    rng = np.random.default_rng(5)
    for folder, count in (("300W_LP/AFW", 8), ("300W_LP/AFW_Flip", 8), ("300W_LP/HELEN", 4), ("AFLW2000", 7)):
        (home / folder).mkdir(parents=True)
        for number in range(count):
            name = f"image{number:05d}" if folder == "AFLW2000" else f"{folder[8:11]}_{number // 2}_{number % 2}"
            draw_lp300w(home / folder / f"{name}.jpg", rng, far=folder == "300W_LP/HELEN" and number == 3)
    noise(rng, 60, 50).save(home / "300W_LP" / "HELEN" / "lonely_0.jpg")
    noise(rng, 60, 50).save(home / "300W_LP" / "HELEN" / "damaged_0.jpg")
    (home / "300W_LP" / "HELEN" / "damaged_0.mat").write_bytes(
        b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + b"\1" * 30
    )
    return home


def draw_lp300w(picture: Path, rng: np.random.Generator, *, far: bool = False) -> None:
    """A picture and its ``.mat``: radians as pitch, yaw, roll; 68 landmarks in pixels; other variables as well."""
    noise(rng, 90, 80).save(picture, quality=95)
    angles = rng.uniform(-1.5, 1.5, 3) if not far else np.array([0.1, 1.8, 0.2])
    points = rng.uniform((20, 25), (60, 55), (68, 2)).T
    content = {
        "Pose_Para": np.concatenate((angles, rng.normal(0, 9, 4)))[None],
        "pt2d": points,
        "Exp_Para": rng.normal(0, 1, (29, 1)),
        "roi": np.array([[1, 2, 3, 4]], dtype=np.int16),
        "name": "a text",
    }
    scipy.io.savemat(picture.with_suffix(".mat"), content, do_compression=bool(rng.integers(0, 2)))


def biwi(home: Path, sequences: int = 4, frames: int = 4) -> Path:
    """``home/01…``: frames, rotations of heads a metre away, and the calibration."""
    rng = np.random.default_rng(6)
    for sequence in range(1, sequences + 1):
        folder = home / f"{sequence:02d}"
        folder.mkdir(parents=True)
        (folder / "rgb.cal").write_text(RGB_CAL)
        (folder / "frame_00003_depth.bin").write_bytes(b"not a picture")
        for number in range(frames):
            stem = folder / f"frame_{number + 3:05d}"
            noise(rng, 640, 480).save(f"{stem}_rgb.png", compress_level=1)
            yaw, pitch, roll = rng.uniform(-60, 60, 3)
            rows = Rotation.from_euler("XYZ", (-pitch, yaw, roll), degrees=True).as_matrix()
            centre = rng.normal((0, 0, 1000), (100, 60, 50))
            lines = [" ".join(f"{value:.6f}" for value in row) + " " for row in (*rows, centre)]
            Path(f"{stem}_pose.txt").write_text("\n".join([*lines[:3], "", lines[3], ""]))
    return home


def noise(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A coarse pattern: fine noise would be lost to the JPEG and to resizing."""
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)
