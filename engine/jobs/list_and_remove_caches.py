"""Lists and removes the image caches on this machine. Without torch."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from gputrain.engine.common.errors import BadInput, did_you_mean
from gputrain.engine.common.files import cache_home
from gputrain.engine.common.sanitize import plain


class CacheInfo(Struct, frozen=True, kw_only=True):
    """A cache on disk."""

    id: str
    bytes: int
    """Size on the disk."""
    used: float
    """Time of the last write, in seconds since 1970."""
    live: bool
    """Whether a run has it open."""
    note: str
    """Its content, as text."""


class _Plan(Struct):
    note: str = ""


def home() -> Path:
    """The folder of all caches on disk."""
    return cache_home() / "images"


def list_caches() -> list[CacheInfo]:
    """All caches on disk, the most recently written first."""
    folders = [path for path in home().iterdir() if (path / "users").is_file()] if home().is_dir() else []
    return sorted(map(_info, folders), key=lambda one: one.used, reverse=True)


def _info(folder: Path) -> CacheInfo:
    used, total = 0.0, 0
    for path in folder.iterdir():
        # A cache may be cleared meanwhile.
        with contextlib.suppress(OSError):
            found = path.stat()
            total += found.st_blocks * 512
            used = max(used, found.st_mtime)
    try:
        note = plain(msgspec.json.decode((folder / "plan.json").read_bytes(), type=_Plan).note, 200)
    except (OSError, msgspec.DecodeError):
        note = "its description cannot be read"
    with _unused(folder) as free:
        return CacheInfo(id=folder.name, bytes=total, used=used, live=not free, note=note)


def clear(name: str) -> CacheInfo:
    """Delete the cache whose id begins with `name`. Raises BadInput for no or several matches, and for one in use."""
    known = list_caches()
    near = [one for one in known if name and one.id.startswith(name)]
    if len(near) != 1:
        unknown = f"is not a cache{did_you_mean(name, [one.id for one in known])}"
        what = f"matches {len(near)} caches" if near else unknown
        raise BadInput(f"'{plain(name, 60)}' {what}; see: gputrain-tui cache list")
    folder = home() / near[0].id
    with _unused(folder) as free:
        if not free:
            raise BadInput(f"{near[0].id}: a run has it open")
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise BadInput(f"{folder} cannot be removed: {error.strerror}: {error.filename}") from None
    return near[0]


@contextlib.contextmanager
def _unused(folder: Path) -> Iterator[bool]:
    """Yields whether no run has the cache open; if so, no run can open it inside the block."""
    try:
        handle = os.open(folder / "users", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise BadInput(f"{folder} cannot be opened: {error.strerror}") from None
    try:
        try:
            # Every run that has it open holds a shared lock.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
