"""Common parts of the head-pose readers: faces with angles and boxes, the angle limit, and the split by subject."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets import group_split
from gputrain.engine.datasets.folder_layouts import split_folder
from gputrain.engine.datasets.image_set import ImageSet, image_set
from gputrain.engine.imaging.decoding import Decoding
from gputrain.engine.training.readers.reader import OnFound, OpenedDataset
from gputrain.engine.training.tasks.head_pose import LIMIT, HeadPose

WHOLE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Face:
    """One face in one picture."""

    name: str
    """Path of the picture relative to the split's folder."""
    subject: str
    """Person or photograph. Pictures of the same subject are never on both sides of a split."""
    unit: str
    """What groups.csv lists: the sequence, or the photograph's path without its view and suffix."""
    angles: tuple[float, float, float]
    """Yaw, pitch and roll in degrees."""
    box: tuple[float, float, float, float]
    """Left, top, right and bottom of the face, as shares of the picture's sides."""


@dataclass(frozen=True, slots=True)
class Faces:
    """The faces of one folder."""

    folder: Path
    faces: list[Face]
    left_out: int
    """Pictures without a usable annotation."""


def read_splits(config: RunConfig, on_found: OnFound, faces_in: Callable[[Path, OnFound], Faces]) -> OpenedDataset:
    """The faces that `faces_in` finds in the folders of both splits. Raises BadInput if none is left."""
    data = config.data
    groups = group_split.read_groups(data.data_dir)

    units: set[str] = set()

    def read(split: str, setting: str) -> Faces:
        found = faces_in(split_folder(data.data_dir, split, setting), on_found)
        named = [dataclasses.replace(face, subject=groups.get(face.unit, face.subject)) for face in found.faces]
        units.update(face.unit for face in found.faces)
        return dataclasses.replace(found, faces=named) if groups else found

    train, val = read(data.train_split, "train_split"), read(data.val_split, "val_split") if data.val_split else None
    unused = group_split.unused_names(groups, units, "a sequence, or a photograph without face, view and suffix")
    found = _split(config, train, val)
    return dataclasses.replace(found, warnings=(*unused, *found.warnings))


def _split(config: RunConfig, train: Faces, val: Faces | None) -> OpenedDataset:
    """The data sets of `train`, and of `val` or a held-out share of the subjects. Raises BadInput if none is left."""
    share = config.data.val_share
    train_faces, val_faces = _within_limit(train), _within_limit(val) if val is not None else []
    val_folder = train.folder if val is None else val.folder
    if val is None and share:
        held_out = group_split.held_out((face.subject for face in train_faces), share)
        train_faces, val_faces = (
            [f for f in train_faces if f.subject not in held_out],
            [f for f in train_faces if f.subject in held_out],
        )
    _require_faces(train_faces, train)
    if val is not None:
        _require_faces(val_faces, val)
    angles = np.array([face.angles for face in (*train_faces, *val_faces)], dtype=np.float32)
    return OpenedDataset(
        _images(train.folder, train_faces, 0),
        _images(val_folder, val_faces, len(train_faces)) if val_faces else None,
        HeadPose(angles),
        tuple(_summary(found) for found in (train, val) if found is not None),
        group_split.shared_groups((face.subject for face in train_faces), (face.subject for face in val_faces)),
    )


def _require_faces(faces: list[Face], found: Faces) -> None:
    if not faces:
        raise BadInput(
            f"{plain(str(found.folder), 300)}: no faces are left: of {len(found.faces) + found.left_out} pictures "
            f"{found.left_out} have no usable annotation, {len(found.faces)} are turned by more than {LIMIT:g}°"
        )


def _within_limit(found: Faces) -> list[Face]:
    return [face for face in found.faces if max(abs(angle) for angle in face.angles) <= LIMIT]


def _images(folder: Path, faces: list[Face], first: int) -> ImageSet:
    found = image_set(folder, [face.name for face in faces], range(first, first + len(faces)), ())
    boxes = np.array([face.box for face in faces], dtype=np.float32)
    # Boxes and angles are annotated in the stored picture, whatever its orientation tag says.
    return dataclasses.replace(found, boxes=boxes, decoding=Decoding(as_stored=True))


def _summary(found: Faces) -> str:
    count = len(_within_limit(found))
    return (
        f"{plain(str(found.folder), 200)}: {count:,} faces; left out: {len(found.faces) - count:,} turned by more than "
        f"{LIMIT:g}°, {found.left_out:,} without a usable annotation"
    )
