"""Folder layouts of the data sets, and the errors for what is missing in them. For readers and plans; without torch."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput, did_you_mean
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets import image_files
from gputrain.engine.datasets.skipped_files import SkippedFiles, skipped_text

CIFAR = "cifar-10-batches-py"
CIFAR_META = "batches.meta"
CIFAR_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
CIFAR_TEST = ("test_batch",)
BIWI_PICTURE, BIWI_POSE = "_rgb.png", "_pose.txt"
IMAGENET = {"train": "ILSVRC2012_img_train.tar", "val": "ILSVRC2012_img_val.tar"}
"""ImageNet's archives, for the values of `train_split` and `val_split`; another value names a tar file."""
STREAMS = ("high", "low")
"""Folders of a clip that exists in two qualities; each has its own encoder."""
CLIP_CLASSES = 2
"""Clips are real or fake."""


def split_folder(data_dir: str, split: str, setting: str) -> Path:
    """The folder of a split, ``data_dir/split``. Raises BadInput with `setting`, the folder and the remedy."""
    if not data_dir:
        raise BadInput("data_dir is not set; name the folder that holds the images: data_dir=/data/imagenet")
    home = files.expand_user(data_dir)
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


def class_folders(
    folder: Path, setting: str, classes: Sequence[str] | None, skipped: SkippedFiles | None = None
) -> list[str]:
    """Names of a split's class folders, sorted. Raises BadInput if there are none, or one is not in `classes`.

    Names that differ only in their Unicode form (NFC, NFD) are the same class; two of them in one split are refused.
    """
    found = subfolders(folder, skipped)
    if not found:
        raise BadInput(
            f"{setting}: {shown(folder)} has no class folders; "
            "expected one folder for each class, with its images in it (train/cat/1.jpg)"
        )
    forms: dict[str, str] = {}
    for name in found:
        if (other := forms.setdefault(composed(name), name)) != name:
            raise BadInput(
                f"{setting}: {shown(folder)} has two folders called '{plain(composed(name), 100)}', one in the Unicode "
                f"form {form_of(other)}, one in {form_of(name)}; merge them"
            )
    known = None if classes is None else {composed(name) for name in classes}
    for name in found:
        if classes is not None and known is not None and composed(name) not in known:
            raise BadInput(
                f"{setting}: {shown(folder / name)} is a class that the training images don't have"
                f"{did_you_mean(name, classes)}; remove or rename the folder"
            )
    return found


def composed(name: str) -> str:
    """`name` in the Unicode form NFC. macOS writes file names in NFD."""
    return unicodedata.normalize("NFC", name)


def form_of(name: str) -> str:
    """The Unicode form of `name`: NFC, NFD, or neither."""
    return next((form for form in ("NFC", "NFD") if unicodedata.is_normalized(form, name)), "a mixed form")


def no_images(folder: Path, setting: str, skipped: SkippedFiles | None = None) -> BadInput:
    """The error for a class folder without images."""
    there = skipped_text(skipped.counts()) if skipped else ""
    return BadInput(
        f"{setting}: the class folder {shown(folder)} has no images ({image_files.COMMON})"
        + (f"; skipped so far: {there}" if there else "")
        + "; add some or remove the folder"
    )


def cifar_folder(data_dir: str) -> Path:
    """The folder with CIFAR-10's batches: `data_dir`, or one in it. Raises BadInput if there is none."""
    home = files.expand_user(data_dir)
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
        f"{setting}: the clip {shown(clip)} has no frames ({image_files.COMMON}) in "
        f"it, or in {' or '.join(STREAMS)}; remove it"
    )


def images_in(folder: str, names: Iterable[str]) -> list[str]:
    """Those of the file names in `folder` that are images, sorted."""
    return sorted(name for name in names if image_files.is_image(f"{folder}/{name}"))


def subfolders(folder: Path, skipped: SkippedFiles | None = None) -> list[str]:
    """Names of the folders in `folder`, sorted, without those that no one means as data. Raises BadInput.

    Left out and counted in `skipped`: `image_files.IGNORED_FOLDERS`, and links to `folder` or to one above it. Names
    that begin with a dot are left out, too.
    """
    skipped = skipped or SkippedFiles()
    above = image_files.ancestors(folder) if folder.exists() else frozenset()
    found = []
    with scandir(os.fspath(folder)) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_dir():
                continue
            if image_files.is_ignored(entry.name):
                skipped.add(f"{entry.name} folder", entry.path)
            elif entry.is_symlink() and image_files.identity_of(entry.path) in above:
                skipped.add(image_files.LINK_TO_PARENT, entry.path)
            else:
                found.append(entry.name)
    return sorted(found)


def scandir(path: str) -> os._ScandirIterator[str]:
    """`os.scandir`. Raises BadInput."""
    try:
        return os.scandir(path)
    except OSError as error:
        raise BadInput(f"{shown(path)}: cannot be listed: {error.strerror or error}") from None


def shown(path: str | Path) -> str:
    """A path as text for a terminal."""
    return plain(os.fspath(path), 300)
