"""ImageNet's own archives: a tar of one tar for each class, and a flat one of validation images. None is unpacked."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.remote_urls import is_url
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets import image_files
from gputrain.engine.datasets.folder_layouts import IMAGENET, shown
from gputrain.engine.datasets.record_files.found_images import LONGEST
from gputrain.engine.datasets.shard_formats import imagenet_labels
from gputrain.engine.datasets.shard_formats.shard_scan import ShardScan
from gputrain.engine.datasets.shard_formats.tar_members import BLOCK, TarDamage, TarFile, TarMember

_POLL_EVERY = 512


class ImageNetTar(NamedTuple):
    """An archive, and the file with the classes of its images if the archive has none."""

    path: str
    labels: str


class _Image(NamedTuple):
    """An image in an archive. Sorted by class and name, as an ImageFolder is."""

    wnid: str
    name: str
    member: TarMember


def archive_of(data_dir: str, split: str, setting: str) -> ImageNetTar:
    """The archive of a split. Raises BadInput with the setting, the place and the remedy."""
    if not data_dir or is_url(data_dir):
        raise BadInput(f"data_dir: name the local folder that has {IMAGENET['train']}")
    home = files.expand_user(data_dir)
    path = home / IMAGENET.get(split, split)
    if not path.is_file():
        more = f"; {setting}= for no validation" if setting == "val_split" else ""
        raise BadInput(f"{setting}: {shown(path)} is missing; {setting} is train, val, or the name of a tar{more}")
    if is_nested(path):
        return ImageNetTar(str(path), "")
    labels = imagenet_labels.labels_file(home)
    if labels is None:
        raise BadInput(
            f"{setting}: {shown(home)} has no classes for the images in {path.name}: copy "
            f"{' or '.join(imagenet_labels.SOURCES)} there"
        )
    return ImageNetTar(str(path), str(labels))


def is_nested(path: Path) -> bool:
    """Whether an archive begins with a tar. Raises BadInput if it cannot be read."""
    try:
        with path.open("rb") as file:
            tar = TarFile(file.fileno())
            if packed := tar.compression():
                raise BadInput(f"{shown(path)} is compressed with {packed}; unpack it to a plain .tar")
            first = next(tar.members(), None)
    except OSError as error:
        raise BadInput(f"{shown(path)}: cannot be read: {error.strerror or error}") from None
    member = first.cut if isinstance(first, TarDamage) else first
    return member is not None and member.name.endswith(".tar")


def scan_imagenet(path: str, labels: str, on_image: Callable[[int], None]) -> ShardScan:
    """The images of an archive, by class and name. `labels` is the file with the classes of a flat archive.

    `on_image` is called now and then with the images so far. Raises BadInput, OSError.
    """
    scan = ShardScan()
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = _with_labels(scan, path, handle, labels) if labels else _of_classes(scan, handle)
        images: list[_Image] = []
        for image in found:
            if len(images) % _POLL_EVERY == 0:
                on_image(len(images))
            images.append(image)
    finally:
        os.close(handle)
    for wnid, _, member in sorted(images):
        blocks = (member.offset - member.start) // BLOCK
        scan.add(member.offset, min(member.size, LONGEST), wnid, blocks)
    return scan


def _of_classes(scan: ShardScan, handle: int) -> Iterator[_Image]:
    """The images of an archive of archives, each of which has the name of its class."""
    for found in TarFile(handle).members():
        member = found.cut if isinstance(found, TarDamage) else found
        wnid = PurePosixPath(member.name).name.removesuffix(".tar") if member is not None else ""
        if member is None or not member.name.endswith(".tar"):
            if isinstance(found, TarDamage):
                scan.damage.append(_shown_damage(found))
            else:
                _skip(scan, "file that is no tar of a class")
            continue
        before = len(scan.damage)
        inner = TarFile(handle, member.offset, member.offset + member.size)
        yield from _images(scan, inner, functools.partial(_given, wnid), f"{wnid}.tar: ")
        if isinstance(found, TarDamage):
            if len(scan.damage) == before:
                scan.damage.append(_shown_damage(found))
            return  # a header behind it would be one inside of the tar that is cut off


def _given(wnid: str, _name: str) -> str:
    return wnid


def _with_labels(scan: ShardScan, path: str, handle: int, labels: str) -> Iterator[_Image]:
    """The images of a flat archive."""
    classes = imagenet_labels.classes_of_images(Path(labels))

    def wnid_of(name: str) -> str:
        stem = name.partition(".")[0]
        if stem not in classes:
            raise BadInput(f"{shown(path)}: {shown(labels)} has no class for the image '{plain(name, 100)}'")
        return classes[stem]

    yield from _images(scan, TarFile(handle), wnid_of)


def _images(scan: ShardScan, tar: TarFile, wnid_of: Callable[[str], str], prefix: str = "") -> Iterator[_Image]:
    for found in tar.members():
        if isinstance(found, TarDamage):
            scan.damage.append(prefix + _shown_damage(found))
            continue
        name = PurePosixPath(found.name).name
        if name.startswith(".") or PurePosixPath(name).suffix.lower() not in image_files.EXTENSIONS:
            _skip(scan, "file that is no image")
            continue
        yield _Image(wnid_of(name), name, found)


def _shown_damage(found: TarDamage) -> str:
    return f"{plain(found.why, 200)} (at byte {found.offset:,})"


def _skip(scan: ShardScan, kind: str) -> None:
    scan.skipped[kind] = scan.skipped.get(kind, 0) + 1
