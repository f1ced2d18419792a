"""ImageSet: paths, labels and classes of a data set's images; and the scan of class folders. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.sections.data_settings import DataConfig
from gputrain.engine.datasets import folder_layouts, image_files, label_files
from gputrain.engine.datasets.shards.sharded_images import ShardedImages
from gputrain.engine.datasets.skipped_files import NOTHING_SKIPPED, FoldersRead, Skipped, SkippedFiles
from gputrain.engine.imaging.decoding import DEFAULT_DECODING, Decoding

if TYPE_CHECKING:
    import torch

    from gputrain.engine.training.userdata.user_dataset import UserDataset

PROGRESS_EVERY = 10_000
"""Images between two calls of a scan's `progress`."""


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Images by index, with their classes.

    The paths are one block of bytes with offsets: 1.3 million paths take 70 MB so, and 200 MB as Python strings; one
    block reaches a worker process in milliseconds.
    """

    root: str
    """The folder to which the names are relative."""
    names: bytes
    """All paths relative to `root` in the file system's encoding, concatenated."""
    ends: npt.NDArray[np.int64]
    """(N,): where each name ends in `names`."""
    labels: npt.NDArray[np.int64] | npt.NDArray[np.int32]
    """(N,): the class of each image."""
    classes: tuple[str, ...]
    group: int = 1
    """Images per sample: each `group` consecutive images are one sample."""
    boxes: npt.NDArray[np.float32] | None = None
    """(N, 4): left, top, right and bottom of the used part of each image, as shares of its sides; None: all of it."""
    user_dataset: UserDataset | None = None
    """The user's Dataset, which replaces files."""
    pixels: torch.Tensor | None = None
    """uint8 (N, H, W, 3): images that are in memory instead of in files."""
    shards: ShardedImages | None = None
    """Images in tar or Parquet shards instead of files of their own; `names` and `ends` are empty then."""
    decoding: Decoding = DEFAULT_DECODING
    """How files become pixels."""
    scan_result: Skipped = NOTHING_SKIPPED
    """What the scan of the folders left out, or read twice."""

    @property
    def skipped(self) -> tuple[tuple[str, int], ...]:
        """Files and folders that are no images, by kind, with their numbers."""
        return self.scan_result.counts

    def __len__(self) -> int:
        return len(self.ends) if self.shards is None else len(self.shards)

    def __getstate__(self) -> dict[str, Any]:
        state = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.shards is not None and self.labels is self.shards.labels:
            # A worker maps the same file instead of getting a copy.
            state["labels"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["labels"] is None:
            state["labels"] = state["shards"].labels
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def name(self, index: int) -> str:
        """Path of an image relative to `root`; in shards, the shard's path and the name of the file in it."""
        if self.shards is not None:
            return self.shards.name(index)
        start = int(self.ends[index - 1]) if index else 0
        return os.fsdecode(self.names[start : int(self.ends[index])])

    def path(self, index: int) -> str:
        """Path of an image."""
        return f"{self.root}/{self.name(index)}"

    def place(self, index: int) -> str:
        """Where an image is, for errors: its path, or what is known of it without reading its shard."""
        return self.path(index) if self.shards is None else self.shards.place(index)

    def shown(self, index: int) -> str:
        """An image's name for messages: ``class/file``."""
        return "/".join(Path(self.path(index)).parts[-2:])


def image_set(root: str | Path, names: Sequence[str], labels: Sequence[int], classes: Sequence[str]) -> ImageSet:
    """An ImageSet of `names` (paths relative to `root`), for layouts other than class folders."""
    encoded = [os.fsencode(name) for name in names]
    return ImageSet(
        root=os.fspath(root),
        names=b"".join(encoded),
        ends=np.cumsum([len(name) for name in encoded], dtype=np.int64),
        labels=np.asarray(labels, dtype=np.int64),
        classes=tuple(classes),
    )


def scan(
    data_dir: str,
    split: str,
    *,
    setting: str = "train_split",
    classes: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
    folders: FoldersRead | None = None,
) -> ImageSet:
    """The images of ``data_dir/split/<class>/…``, classes and files in sorted order, as torchvision's ImageFolder.

    Names that begin with a dot are skipped, unlike in torchvision: macOS and notebooks leave such files and folders
    behind. `setting` names the split in messages. `classes` are those of the training split: labels follow them, so
    that a class that is missing from a validation split does not shift the others. `progress` is called with the number
    of images found so far. `folders` are those that scans of other splits have read. ``labels.csv`` replaces class
    folders, and ``class_to_idx.json`` the order of the classes, see `label_files`. Raises BadInput with the setting,
    the folder and the remedy.
    """
    listed = label_files.labelled_files(data_dir, split, setting, classes)
    if listed is not None:
        if progress is not None:
            progress(len(listed.names))
        return image_set(listed.folder, listed.names, listed.labels, listed.classes)
    folder = folder_layouts.split_folder(data_dir, split, setting)
    skipped = SkippedFiles(files.expand_user(data_dir), folders)
    found = folder_layouts.class_folders(folder, setting, classes, skipped)
    if classes is None:
        skipped.note_classes(split, found)
        classes = label_files.indexed_classes(data_dir, found)
    known = {name: label for label, name in enumerate(found if classes is None else classes)}
    label_of = known if classes is None else {folder_layouts.composed(name): known[name] for name in known}
    encoded: list[bytes] = []
    labels: list[int] = []
    for name in found:
        before = len(encoded)
        for file in files_in(folder / name, skipped, f"{split}/{name}"):
            encoded.append(file)
            if progress is not None and len(encoded) % PROGRESS_EVERY == 0:
                progress(len(encoded))
        if len(encoded) == before:
            raise folder_layouts.no_images(folder / name, setting, skipped)
        label = known[name] if name in known else label_of[folder_layouts.composed(name)]
        labels.extend([label] * (len(encoded) - before))
    if progress is not None:
        progress(len(encoded))
    skip = len(os.fsencode(folder)) + 1
    return ImageSet(
        root=os.fspath(folder),
        names=b"".join(path[skip:] for path in encoded),
        ends=np.cumsum([len(path) - skip for path in encoded], dtype=np.int64),
        labels=np.asarray(labels, dtype=np.int64),
        classes=tuple(known),
        scan_result=skipped.result(),
    )


def scan_splits(data: DataConfig, progress: Callable[[int], None]) -> tuple[ImageSet, ImageSet | None]:
    """The images of both splits of class folders; None for a validation split that is not set. Raises as `scan`."""
    folders = FoldersRead()
    train = scan(data.data_dir, data.train_split, progress=progress, folders=folders)
    if not data.val_split:
        return train, None
    return train, scan(
        data.data_dir, data.val_split, setting="val_split", classes=train.classes, progress=progress, folders=folders
    )


def found_at(path: Path, classes: tuple[str, ...]) -> tuple[ImageSet, bool]:
    """The images in a folder, or a single one, and whether they have labels: all sub-folders are named as `classes`.

    Raises BadInput if there are none.
    """
    if not path.exists():
        raise BadInput(f"--images: {plain(str(path), 300)} does not exist")
    if path.is_dir() and _has_classes(path, classes):
        home = path.absolute()
        return scan(str(home.parent), home.name, setting="--images", classes=classes), True
    names = [os.fsdecode(name) for name in files_in(path)] if path.is_dir() else [str(path)]
    if not names:
        raise BadInput(f"--images: {plain(str(path), 300)} has no images ({image_files.COMMON})")
    home = path if path.is_dir() else path.parent
    relative = [os.path.relpath(name, home) for name in names]
    return image_set(home, relative, [0] * len(relative), classes), False


def _has_classes(folder: Path, classes: tuple[str, ...]) -> bool:
    """Whether `folder` has sub-folders, and each has the name of a class."""
    inside = folder_layouts.subfolders(folder)
    known = {folder_layouts.composed(name) for name in classes}
    return bool(inside) and all(folder_layouts.composed(name) in known for name in inside)


def files_in(folder: Path, skipped: SkippedFiles | None = None, owner: str = "") -> Iterator[bytes]:
    """Paths of the images under `folder`: by folder, then by name, each sorted. Counts other files in `skipped`.

    Links to folders are followed, but each folder is read once, and a link to a parent folder never. `owner` is the
    split and class whose images they are.
    """
    skipped = skipped or SkippedFiles()
    folders: list[tuple[str, list[str]]] = []
    pending, links = [os.fspath(folder)], list[str]()
    seen = set(image_files.ancestors(folder)) if folder.exists() else set()
    while pending or links:
        here = pending.pop() if pending else links.pop(0)
        identity = image_files.identity_of(here)
        if here != os.fspath(folder) and identity in seen:
            skipped.add(
                image_files.LINK_TO_PARENT if identity in image_files.ancestors(Path(here).parent) else "repeated link",
                here,
            )
            continue
        seen.add(identity)
        skipped.read(identity, here, owner)
        names: list[str] = []
        with folder_layouts.scandir(here) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    if image_files.is_ignored(entry.name):
                        skipped.add(f"{entry.name} folder", entry.path)
                    else:
                        # Real folders first, so that a link to one of them is the repetition.
                        (links if entry.is_symlink() else pending).append(entry.path)
                elif image_files.is_image(entry.path) and (entry.is_symlink() or entry.is_file(follow_symlinks=False)):
                    names.append(entry.name)
                else:
                    skipped.add_file(entry.path)
        links.sort()
        folders.append((here, sorted(names)))
    for home, names in sorted(folders):
        prefix = os.fsencode(home) + b"/"
        for name in names:
            yield prefix + os.fsencode(name)
