"""Reader of the BIWI Kinect Head Pose Database (Fanelli et al. 2013): sequences of frames with rotation matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets.folder_layouts import BIWI_PICTURE, BIWI_POSE, no_sequences, subfolders
from gputrain.engine.datasets.group_split import biwi_person
from gputrain.engine.training.readers.head_pose_reader import WHOLE, Face, Faces, read_splits
from gputrain.engine.training.readers.reader import OnFound, OpenedDataset

Matrix = npt.NDArray[np.float64]

_CALIBRATION = "rgb.cal"
_HALF = 125.0
"""Millimetres from the centre of a head to each side of its box: hair and chin are inside."""


def read(config: RunConfig, on_found: OnFound) -> OpenedDataset:
    """See `Reader`. ``data_dir/<split>`` holds the sequences: ``01/frame_00003_rgb.png`` and ``…_pose.txt``.

    Without a `val_split`, `val_share` of the people is held out.
    """
    return read_splits(config, on_found, _faces)


def angles(rotation: Matrix) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees of a head's rotation in the camera's frame, as Ruiz et al. 2018 take them.

    The rotation is Rx(-pitch) · Ry(yaw) · Rz(roll).
    """
    yaw = math.atan2(rotation[0, 2], math.hypot(rotation[1, 2], rotation[2, 2]))
    pitch = math.atan2(rotation[1, 2], rotation[2, 2])
    roll = -math.atan2(rotation[0, 1], rotation[0, 0])
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)


@dataclass(frozen=True, slots=True)
class Camera:
    """The colour camera of a sequence."""

    matrix: Matrix
    """(3, 3): from its frame to pixels."""
    rotation: Matrix
    """(3, 3): from the depth camera's frame, in which heads are annotated, to the colour camera's."""
    shift: Matrix
    """(3,): translation between the two, in millimetres."""
    width: int
    height: int

    def box(self, centre: Matrix) -> tuple[float, float, float, float]:
        """The square around a head at `centre` (millimetres, depth camera's frame), as shares of the picture."""
        x, y, z = (self.rotation @ centre + self.shift).tolist()
        if z <= 0:
            return WHOLE
        u, v, _ = (self.matrix @ np.array([x / z, y / z, 1.0])).tolist()
        across, down = self.matrix[0, 0] * _HALF / z, self.matrix[1, 1] * _HALF / z
        sides = ((u - across) / self.width, (v - down) / self.height)
        ends = ((u + across) / self.width, (v + down) / self.height)
        if ends[0] <= 0 or ends[1] <= 0 or sides[0] >= 1 or sides[1] >= 1:
            return WHOLE
        return max(0.0, sides[0]), max(0.0, sides[1]), min(1.0, ends[0]), min(1.0, ends[1])


def _faces(folder: Path, on_found: OnFound) -> Faces:
    sequences = [folder / name for name in subfolders(folder)]
    faces: list[Face] = []
    left_out = 0
    for sequence in sequences:
        pictures = sorted(sequence.glob(f"*{BIWI_PICTURE}"))
        camera = _camera(sequence / _CALIBRATION) if pictures else None
        for picture in pictures:
            face = _face(sequence.name, picture, camera)
            if face is None:
                left_out += 1
            else:
                faces.append(face)
        on_found(len(faces) + left_out)
    if not faces and not left_out:
        raise no_sequences(folder)
    return Faces(folder, faces, left_out)


def _face(sequence: str, picture: Path, camera: Camera | None) -> Face | None:
    """The face of a frame; None if its annotation is missing or unusable."""
    numbers = _numbers(picture.with_name(picture.name.removesuffix(BIWI_PICTURE) + BIWI_POSE))
    if numbers is None or len(numbers) < 12:
        return None
    box = WHOLE if camera is None else camera.box(numbers[9:12])
    return Face(f"{sequence}/{picture.name}", biwi_person(sequence), sequence, angles(numbers[:9].reshape(3, 3)), box)


def _camera(path: Path) -> Camera | None:
    """A sequence's colour camera; None without calibration: pictures are then used whole.

    The file holds the camera matrix, four distortion coefficients, rotation, translation and the picture's size.
    """
    numbers = _numbers(path)
    if numbers is None or len(numbers) < 27:
        return None
    width, height = int(numbers[25]), int(numbers[26])
    if width < 1 or height < 1:
        return None
    return Camera(numbers[:9].reshape(3, 3), numbers[13:22].reshape(3, 3), numbers[22:25], width, height)


def _numbers(path: Path) -> Matrix | None:
    """All numbers of a text file; None if it can't be read as such."""
    try:
        found = np.array([float(word) for word in path.read_text().split()])
    except (OSError, ValueError):
        return None
    return found if np.isfinite(found).all() else None
