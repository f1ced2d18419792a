"""Caches of prepared images on this machine: built ahead by a child process, listed, and cleared. Without torch."""

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
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.processes.child_job import Tell, run_job


class BuildOrder(Struct, frozen=True):
    """What the child is asked for."""

    config: RunConfig


class BuiltCaches(Struct, frozen=True, kw_only=True):
    """What the child built."""

    folders: tuple[str, ...]
    images: int
    """Images that are kept now."""
    bytes: int
    bad: tuple[str, ...]
    """Path and reason of images that could not be read."""
    notes: tuple[str, ...]
    """How much of the data is kept, in words."""


class CacheInfo(Struct, frozen=True, kw_only=True):
    """A cache on disk."""

    id: str
    bytes: int
    """Room on the disk."""
    used: float
    """When something was last written to it, seconds since 1970."""
    live: bool
    """A run has it open."""
    note: str
    """What it keeps, in words."""


class _Plan(Struct):
    note: str = ""


def build(config: RunConfig, tell: Tell) -> BuiltCaches:
    """Prepare all images of a configuration with ``cache: disk``, training and validation; goes on where a former
    call ended.

    Raises BadInput where the data or the settings cannot be used, RuntimeError where the work fails.
    """
    return run_job("gputrain.engine.training.cache.cache_build_child", BuildOrder(config), BuiltCaches, tell)


def home() -> Path:
    """The folder of the caches on disk."""
    return cache_home() / "images"


def list_caches() -> list[CacheInfo]:
    """All caches on disk, those written last first."""
    folders = [path for path in home().iterdir() if (path / "users").is_file()] if home().is_dir() else []
    return sorted(map(_info, folders), key=lambda one: one.used, reverse=True)


def _info(folder: Path) -> CacheInfo:
    used, total = 0.0, 0
    for path in folder.iterdir():
        # A cache may be cleared while it is looked at.
        with contextlib.suppress(OSError):
            found = path.stat()
            total += found.st_blocks * 512
            used = max(used, found.st_mtime)
    try:
        note = plain(msgspec.json.decode((folder / "plan.json").read_bytes(), type=_Plan).note, 200)
    except (OSError, msgspec.DecodeError):
        note = "its plan cannot be read"
    with _unused(folder) as free:
        return CacheInfo(id=folder.name, bytes=total, used=used, live=not free, note=note)


def clear(name: str) -> CacheInfo:
    """Delete the cache whose id begins with `name`. Raises BadInput for one that a run has open."""
    known = list_caches()
    near = [one for one in known if name and one.id.startswith(name)]
    if len(near) != 1:
        what = f"fits {len(near)} caches" if near else f"is no cache{did_you_mean(name, [one.id for one in known])}"
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
    """Whether nobody has the cache open; inside, nobody can begin to use it then."""
    try:
        handle = os.open(folder / "users", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise BadInput(f"{folder} cannot be opened: {error.strerror}") from None
    try:
        try:
            # Every run that has it open holds this lock, shared.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
