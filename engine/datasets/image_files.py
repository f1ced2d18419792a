"""Which files are images, and a quick count of a folder of class folders, for plans."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from gputrain.engine.common.sanitize import plain
from gputrain.engine.estimates.host_memory import DataFacts

EXTENSIONS = (
    ".apng", ".avif", ".avifs", ".blp", ".bmp", ".bw", ".cur", ".dcx", ".dds", ".dib", ".fit", ".fits", ".flc", ".fli",
    ".ftc", ".ftu", ".gbr", ".gif", ".icb", ".icns", ".ico", ".iim", ".im", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc",
    ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".msp", ".pbm", ".pcd", ".pcx", ".pfm", ".pgm", ".png", ".pnm",
    ".ppm", ".psd", ".pxr", ".qoi", ".ras", ".rgb", ".rgba", ".sgi", ".tga", ".tif", ".tiff", ".vda", ".vst", ".webp",
    ".xbm", ".xpm",
)  # fmt: skip
"""Suffixes of images: all that Pillow reads, without documents, drawings, videos and tables. The first frame of an
animation is used."""
COMMON = "jpg, png, tif, webp, bmp, gif, avif, jp2 …"
"""The usual ones, for messages."""
IGNORED_FOLDERS = frozenset((
    "@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "$RECYCLE.BIN", "System Volume Information",
    "__MACOSX", "__pycache__", "lost+found",
))  # fmt: skip
"""Folders that file servers, archives and systems create: never classes, and their files are no images of a class.
Names that begin with a dot are ignored too."""
UNREADABLE = frozenset((
    ".arw", ".cr2", ".cr3", ".dcm", ".dng", ".exr", ".hdr", ".heic", ".heics", ".heif", ".hif", ".jxl", ".jxr", ".mat",
    ".nef", ".nii", ".npy", ".orf", ".raf", ".rw2", ".svg",
))  # fmt: skip
"""Suffixes of pictures that Pillow cannot open: they are skipped with a warning."""
NO_SUFFIX = "no suffix"
_SIGNATURES = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P1", b"P2", b"P3", b"P4", b"P5", b"P6",
    b"\0\0\0\x0cjP  \r\n", b"\xff\x4f\xff\x51", b"qoif",
)  # fmt: skip
COUNT_SECONDS = 0.5
"""Time limit of a plan's count; enough for some hundred thousand files on a local disk."""
_WEIGHED_EVERY = 50
"""The size of one in so many files is read."""
_LOOKED_AT = 16
"""Files whose headers are read at most, for the images' sizes."""


def is_ignored(folder: str) -> bool:
    """Whether a folder of this name is skipped."""
    return folder.startswith(".") or folder in IGNORED_FOLDERS


def is_image(path: str) -> bool:
    """Whether a file is an image: by its suffix, or without any by its first bytes."""
    name = os.path.basename(path)  # noqa: PTH119 - called for every file
    if name.startswith("."):
        return False
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    return suffix in _SUFFIXES if suffix else _has_signature(path)


_SUFFIXES = frozenset(EXTENSIONS)


def kind_of_file(name: str) -> str:
    """The kind under which a file that is no image is counted: its suffix in lower case."""
    return os.path.splitext(name)[1].lower() or NO_SUFFIX  # noqa: PTH122


def _has_signature(path: str) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            start = os.read(handle, 12) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
        finally:
            os.close(handle)
    except OSError:
        return False
    return start.startswith(_SIGNATURES) or start[8:] == b"WEBP" or start[4:] in (b"ftypavif", b"ftypavis")


class SkippedFiles:
    """Counts files and folders that are skipped, by kind."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, kind: str, count: int = 1) -> None:
        """Count `count` of a kind."""
        self._counts[kind] = self._counts.get(kind, 0) + count

    def counts(self) -> tuple[tuple[str, int], ...]:
        """Kinds and numbers, the largest first."""
        return tuple(sorted(self._counts.items(), key=lambda item: (-item[1], item[0])))


def unreadable_text(counts: Iterable[tuple[str, int]]) -> str:
    """A warning for skipped files that hold pictures, with the remedy; empty if there are none."""
    found = [(kind, count) for kind, count in counts if kind in UNREADABLE]
    if not found:
        return ""
    return f"not read: {skipped_text(found)} files, which Pillow cannot open; convert them to PNG, TIFF or JPEG"


def skipped_text(counts: Iterable[tuple[str, int]]) -> str:
    """``12 .txt, 3 .heic, 1 @eaDir folder``: skipped files as text; empty if there are none."""
    parts = [f"{count} {plain(kind, 40)}" for kind, count in counts]
    return ", ".join(parts[:_KINDS_NAMED]) + (
        f" and {len(parts) - _KINDS_NAMED} more kinds" if len(parts) > _KINDS_NAMED else ""
    )


_KINDS_NAMED = 6


class TimeLimitReached(Exception):  # noqa: N818 - not an error: the time is up
    pass


def count_images(folder: Path, train_split: str, val_split: str, seconds: float = COUNT_SECONDS) -> DataFacts | None:
    """Images below ``folder/split/<class>/…``, and bytes and sides of the training images from a sample of them.

    None if they cannot be counted, or not in `seconds`; the run's scan then names the fault.
    """
    deadline = time.monotonic() + seconds
    try:
        skipped = SkippedFiles()
        train, weighed = _count(folder / train_split, deadline, skipped)
        val, _ = _count(folder / val_split, deadline, skipped) if val_split else (0, [])
        if not train:
            return None
        size = round(sum(entry.stat().st_size for entry in weighed) / len(weighed) * train)
        # Spread over the classes, whose images may come from different places.
        looked_at = weighed[:: -(-len(weighed) // _LOOKED_AT)]
        side = _short_side([entry.path for entry in looked_at], deadline)
        return DataFacts(train, val, size, side, skipped=skipped.counts())
    except (OSError, TimeLimitReached):
        return None


def _short_side(paths: Iterable[str], deadline: float) -> float | None:
    """Mean short side in pixels, of the images that can be opened until `deadline`; None if there are none."""
    from PIL import Image  # not for every command that counts

    sides = []
    for path in paths:
        if time.monotonic() > deadline:
            break
        # The run reports files that are no images.
        with contextlib.suppress(Exception), Image.open(path) as image:
            sides.append(min(image.size))
    return sum(sides) / len(sides) if sides else None


def _count(split: Path, deadline: float, skipped: SkippedFiles) -> tuple[int, list[os.DirEntry[str]]]:
    """The number of images, and one in _WEIGHED_EVERY of them."""
    count, some = 0, []
    for entry in _images(split, deadline, skipped, ancestors(split)):
        if count % _WEIGHED_EVERY == 0:
            some.append(entry)
        count += 1
    return count, some


def _images(
    folder: Path, deadline: float, skipped: SkippedFiles, above: frozenset[tuple[int, int]], depth: int = 0
) -> Iterator[os.DirEntry[str]]:
    """Images of class folders and their sub-folders, without what the scan skips."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if time.monotonic() > deadline:
                raise TimeLimitReached
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if is_ignored(entry.name):
                    skipped.add(f"{entry.name} folder")
                elif (identity := identity_of(entry.path)) in above:
                    skipped.add(LINK_TO_PARENT)
                else:
                    yield from _images(Path(entry.path), deadline, skipped, above | {identity}, depth + 1)
            elif depth and entry.is_file() and is_image(entry.path):
                yield entry
            elif depth:
                skipped.add(kind_of_file(entry.name))


LINK_TO_PARENT = "link to a parent folder"


def identity_of(path: str | Path) -> tuple[int, int]:
    """Device and inode of a file or folder, links followed. Raises OSError."""
    status = os.stat(path)  # noqa: PTH116
    return status.st_dev, status.st_ino


def ancestors(folder: Path) -> frozenset[tuple[int, int]]:
    """Identities of a folder and of all folders above it."""
    home = folder.resolve()
    return frozenset(identity_of(path) for path in (home, *home.parents))
