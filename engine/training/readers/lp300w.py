"""Reader of 300W-LP and AFLW2000-3D (Zhu et al. 2016, arXiv:1511.07212): a ``.mat`` beside each picture."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.datasets import mat_file
from gputrain.engine.training.readers.head_pose_reader import WHOLE, Face, Faces, read_splits
from gputrain.engine.training.readers.reader import OnFound, OpenedDataset
from gputrain.engine.training.transforms import decode

_MARGIN = 0.2
"""The box of the landmarks grows by this share, times a factor for each side, since the forehead has no landmarks (the
crop of Ruiz et al. 2018, arXiv:1710.00925)."""
_SIDES, _ABOVE, _BELOW = 0.6, 2.0, 0.6
_EVERY = 1000
_RENDERING = re.compile(r"_\d+$")


def read(config: RunConfig, on_found: OnFound) -> OpenedDataset:
    """See `Reader`. ``data_dir/<split>`` holds folders of pictures (``AFW/AFW_1051618982_1_0.jpg`` and ``.mat``).

    Without a `val_split`, `val_share` of the photographs is held out, with all their renderings.
    """
    return read_splits(config, on_found, _faces)


def _faces(folder: Path, on_found: OnFound) -> Faces:
    faces: list[Face] = []
    left_out = 0
    for name in _pictures(folder):
        face = _face(folder, name)
        if face is None:
            left_out += 1
        else:
            faces.append(face)
        if (len(faces) + left_out) % _EVERY == 0:
            on_found(len(faces) + left_out)
    on_found(len(faces) + left_out)
    return Faces(folder, faces, left_out)


def _pictures(folder: Path) -> list[str]:
    """Paths of all pictures under `folder`, sorted."""
    names = []
    for home, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inner = os.path.relpath(home, folder)
        names += [
            os.path.normpath(f"{inner}/{file}")
            for file in files
            if file.lower().endswith((".jpg", ".jpeg", ".png")) and not file.startswith(".")
        ]
    return sorted(names)


def _face(folder: Path, name: str) -> Face | None:
    """The face of a picture; None if its annotation is missing or unusable."""
    picture = folder / name
    try:
        content = mat_file.read(picture.with_suffix(".mat"), ("Pose_Para", "pt2d"))
    except (OSError, mat_file.BadMatFile):
        return None
    pose = content.get("Pose_Para")
    if pose is None or pose.size < 3 or not np.isfinite(pose.flat[:3]).all():
        return None
    pitch, yaw, roll = (math.degrees(float(angle)) for angle in pose.flat[:3])
    return Face(name, _subject(name), (yaw, pitch, roll), _box(picture, content.get("pt2d")))


def _subject(name: str) -> str:
    """The photograph of a rendering: ``AFW_Flip/AFW_1_2.jpg`` and ``AFW/AFW_1_0.jpg`` have the same."""
    path = Path(name)
    return f"{path.parent.name.removesuffix('_Flip')}/{_RENDERING.sub('', path.stem)}"


def _box(picture: Path, points: npt.NDArray[np.float64] | None) -> tuple[float, float, float, float]:
    """The face around its landmarks (2, n), as shares of the picture; the whole picture if there are none."""
    try:
        with Image.open(picture) as opened:
            width, height = opened.size
    except decode.PILLOW_ERRORS:
        # The loader reads the file again, and reports the fault.
        return WHOLE
    if points is None or points.ndim != 2 or points.shape[0] != 2:
        return WHOLE
    # Hidden landmarks are at -1.
    seen = points[:, (points > 0).all(axis=0)]
    if seen.shape[1] < 2:
        return WHOLE
    (left, top), (right, bottom) = seen.min(axis=1).tolist(), seen.max(axis=1).tolist()
    across, down = _MARGIN * (right - left), _MARGIN * (bottom - top)
    return (
        max(0.0, (left - _SIDES * across) / width),
        max(0.0, (top - _ABOVE * down) / height),
        min(1.0, (right + _SIDES * across) / width),
        min(1.0, (bottom + _BELOW * down) / height),
    )
