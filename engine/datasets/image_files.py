"""Which files are images and which folders are read: by name, first bytes and identity."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

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
    "@eaDir", "@tmp", "@sharebin", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "$RECYCLE.BIN",
    "RECYCLER", "System Volume Information", "FOUND.000", "__MACOSX", "__pycache__", "lost+found",
))  # fmt: skip
"""Folders that file servers, archives and systems create: never classes, and their files are no images of a class.
Names that begin with a dot are ignored too."""
UNREADABLE = frozenset((
    ".arw", ".cr2", ".cr3", ".dcm", ".dng", ".exr", ".hdr", ".heic", ".heics", ".heif", ".hif", ".jxl", ".jxr", ".mat",
    ".nef", ".nii", ".npy", ".orf", ".raf", ".rw2", ".svg",
))  # fmt: skip
"""Suffixes of pictures that Pillow cannot open: they are skipped with a warning."""
NO_SUFFIX, NUMBER = "no suffix", ".<number>"
_SIGNATURES = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  \r\n", b"\xff\x4f\xff\x51",
    b"qoif",
)  # fmt: skip
_PORTABLE = re.compile(rb"P[1-6]\s+(?:#|[0-9])")
"""PBM, PGM and PPM: the width, or a comment, follows."""


def is_ignored(folder: str) -> bool:
    """Whether a folder of this name is skipped."""
    return folder.startswith(".") or folder in IGNORED_FOLDERS


def is_image(path: str) -> bool:
    """Whether a file is an image: by its suffix, or without any by its first bytes."""
    name = os.path.basename(path)  # noqa: PTH119 - called for every file
    if name.startswith("."):
        return False
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    return suffix in _SUFFIXES if suffix else begins_as_image(path)


_SUFFIXES = frozenset(EXTENSIONS)


def kind_of_file(name: str) -> str:
    """The kind under which a file that is no image is counted: its suffix in lower case, without its value if a number.

    Each file of a scanner may have a number of its own.
    """
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    return (NUMBER if suffix[1:].isdecimal() else suffix) or NO_SUFFIX


def begins_as_image(path: str) -> bool:
    """Whether a file begins as an image does."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            start = os.read(handle, 12) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
        finally:
            os.close(handle)
    except OSError:
        return False
    return (
        start.startswith(_SIGNATURES)
        or start[8:] == b"WEBP"
        or start[4:] in (b"ftypavif", b"ftypavis")
        or _PORTABLE.match(start) is not None
        or (start[:2] == b"BM" and start[6:10] == bytes(4))
    )


LINK_TO_PARENT = "link to a parent folder"


Identity = tuple[int, int]
"""Device and inode of a file or folder."""


def identity_of(path: str | Path) -> Identity:
    """Device and inode of a file or folder, links followed. Raises OSError."""
    status = os.stat(path)  # noqa: PTH116
    return status.st_dev, status.st_ino


def ancestors(folder: Path) -> frozenset[Identity]:
    """Identities of a folder and of all folders above it."""
    home = folder.resolve()
    return frozenset(identity_of(path) for path in (home, *home.parents))
