"""Folder layouts of the data sets, and the errors for what is missing in them. For readers and plans; without torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from gputrain.engine.common.errors import BadInput, did_you_mean
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.image_files import EXTENSIONS

CIFAR = "cifar-10-batches-py"
CIFAR_META = "batches.meta"
CIFAR_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
CIFAR_TEST = ("test_batch",)
BIWI_PICTURE, BIWI_POSE = "_rgb.png", "_pose.txt"
STREAMS = ("high", "low")
"""Folders of a clip that exists in two qualities; each has its own encoder."""
CLIP_CLASSES = 2
"""Clips are real or fake."""


def split_folder(data_dir: str, split: str, setting: str) -> Path:
    """The folder of a split, ``data_dir/split``. Raises BadInput with `setting`, the folder and the remedy."""
    if not data_dir:
        raise BadInput("data_dir is not set; name the folder that holds the images: data_dir=/data/imagenet")
    home = Path(data_dir).expanduser()
    if not home.is_dir():
        what = "is not a folder" if home.exists() else "does not exist"
        raise BadInput(f"data_dir: {shown(home)} {what}; name the folder that holds '{plain(split, 100)}'")
    folder = home / split
    if not folder.is_dir():
        known = subfolders(home)
        there = f"; it has {', '.join(plain(name, 60) for name in known[:8])}" if known else "; it has no sub-folders"
        raise BadInput(
            f"{setting}: there is no folder '{plain(split, 100)}' in data_dir ({shown(home)})"
            f"{there}{did_you_mean(split, known)}"
        )
    return folder


def class_folders(folder: Path, setting: str, classes: Sequence[str] | None) -> list[str]:
    """Names of a split's class folders, sorted. Raises BadInput if there are none, or one is not in `classes`."""
    found = subfolders(folder)
    if not found:
        raise BadInput(
            f"{setting}: {shown(folder)} has no class folders; "
            "expected one folder for each class, with its images in it (train/cat/1.jpg)"
        )
    for name in found if classes is not None else ():
        if classes is not None and name not in classes:
            raise BadInput(
                f"{setting}: {shown(folder / name)} is a class that the training images don't have"
                f"{did_you_mean(name, classes)}; remove or rename the folder"
            )
    return found


def no_images(folder: Path, setting: str) -> BadInput:
    """The error for a class folder without images."""
    return BadInput(
        f"{setting}: the class folder {shown(folder)} has no images ({', '.join(EXTENSIONS)}); "
        "add some or remove the folder"
    )


def cifar_folder(data_dir: str) -> Path:
    """The folder with CIFAR-10's batches: `data_dir`, or one in it. Raises BadInput if there is none."""
    home = Path(data_dir).expanduser()
    for folder in (home / CIFAR, home):
        if (folder / CIFAR_META).is_file():
            return folder
    raise BadInput(
        f"data_dir: {shown(home)} has no {CIFAR} with {CIFAR_META} in it; "
        "unpack cifar-10-python.tar.gz there, or let torchvision.datasets.CIFAR10(data_dir, download=True) do it"
    )


def no_sequences(folder: Path) -> BadInput:
    """The error for a folder without BIWI sequences."""
    return BadInput(
        f"{shown(folder)}: has no sequences of BIWI (folders such as 01 with frame_00003{BIWI_PICTURE}); "
        "name the folder that holds them: train_split=."
    )


def clip_classes(folder: Path, setting: str) -> tuple[str, ...]:
    """The two class folders of a split of clips. Raises BadInput for any other number."""
    classes = tuple(subfolders(folder))
    if len(classes) != CLIP_CLASSES:
        raise BadInput(
            f"{setting}: {shown(folder)} has {len(classes)} class folders, where two are needed (real and fake), "
            "each with a folder for each clip"
        )
    return classes


def clips_of(folder: Path, setting: str) -> list[str]:
    """Names of the clips in a class folder. Raises BadInput if there are none."""
    clips = subfolders(folder)
    if not clips:
        raise BadInput(f"{setting}: {shown(folder)} has no folders of clips")
    return clips


def clip_streams(clip: Path) -> tuple[Path, ...]:
    """The folders with a clip's frames."""
    return tuple(clip / stream for stream in STREAMS) if set(STREAMS) <= set(subfolders(clip)) else (clip,)


def no_frames(clip: Path, setting: str) -> BadInput:
    """The error for a clip without frames."""
    return BadInput(
        f"{setting}: the clip {shown(clip)} has no frames ({', '.join(EXTENSIONS[:3])} …) in "
        f"it, or in {' or '.join(STREAMS)}; remove it"
    )


def images_in(names: Iterable[str]) -> list[str]:
    """Those of the file names that are images, sorted."""
    return sorted(name for name in names if name.lower().endswith(EXTENSIONS) and not name.startswith("."))


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in `folder`, sorted, without those that begin with a dot. Raises BadInput."""
    with scandir(os.fspath(folder)) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def scandir(path: str) -> os._ScandirIterator[str]:
    """`os.scandir`. Raises BadInput."""
    try:
        return os.scandir(path)
    except OSError as error:
        raise BadInput(f"{shown(path)}: cannot be listed: {error.strerror or error}") from None


def shown(path: str | Path) -> str:
    """A path as text for a terminal."""
    return plain(os.fspath(path), 300)
