"""Writes checkpoint files atomically, in any format, and removes old ones. Imports no torch.

A file is written under a temporary name, fsynced and renamed to a new name. Then ``index.json``, replaced atomically,
lists it with its SHA-256, and only then are old files removed. If a step fails, the last index is still valid. A file
that is not in the index, or does not match its checksum, does not count: see `newest_checkpoint`.

The parts of a sharded checkpoint are complete before that, in a folder of their own, and are listed with it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import re
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.checkpointing.checkpoint_index import BEST, SHARDS, CheckpointEntry, ShardFile, read_index
from gputrain.engine.checkpointing.kept_checkpoints import kept
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import size

_UNFINISHED = ".saving-"
_SHARDS_FOLDER = re.compile(rf"step-\d{{8}}(-\d+)?{re.escape(SHARDS)}")
_SLACK_BYTES = 16 << 20
"""Disk space for what a checkpoint has beside its tensors, and for the run's record afterwards."""


class CheckpointFormat(Protocol):
    """Format of a checkpoint file."""

    suffix: str
    """File name suffix, with its dot."""

    def size_of(self, state: Any) -> int:
        """Bytes of all tensors in a state."""
        ...

    def write(self, state: dict[str, Any], file: ChecksummedWriter) -> None:
        """Write the state. Raises OSError."""
        ...

    def read(self, path: Path) -> dict[str, Any]:
        """Read a state; never runs code from the file. Raises any exception for an invalid file."""
        ...


class CheckpointFiles:
    """The checkpoints of one run directory."""

    def __init__(self, folder: Path, keep_last: int, form: CheckpointFormat) -> None:
        self._folder = folder
        self._keep = keep_last
        self._form = form
        self._best = BEST + form.suffix
        self._names = re.compile(rf"step-\d{{8}}(-\d+)?{re.escape(form.suffix)}")
        self._entries = read_index(folder)
        # Unfinished files of a killed trainer.
        for unfinished in folder.glob(f"{_UNFINISHED}*"):
            unfinished.unlink(missing_ok=True)
        # Also complete files that are not listed. Without a valid index they are kept: the user may want them.
        if self._entries:
            self._remove_unlisted()

    def go_on_from(self, step: int) -> None:
        """Drop entries after `step`, which are damaged and whose steps are repeated. The next `save` deletes them."""
        self._entries = [entry for entry in self._entries if entry.step <= step]

    def save(self, state: dict[str, Any], *, step: int, epoch: int, best: bool) -> CheckpointEntry:
        """Write the state of `step`, also as ``best`` if `best`, and remove old checkpoints.

        ``state["shards"]``, if there, lists the files of a sharded checkpoint, which are complete.
        Raises OSError and leaves the existing files unchanged.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        check_room(self._folder, self._form.size_of(state))
        shards = msgspec.convert((state.get("shards") or {}).get("files", ()), tuple[ShardFile, ...])
        path = _fresh(self._folder, step, self._form.suffix)
        second = self._folder / f"{_UNFINISHED}{self._best}"
        try:
            entry = CheckpointEntry(path.name, step, epoch, *_write(path, state, self._form), best=best, shards=shards)
            if best:
                _link(path, second)
            entries = kept(self._entries, entry, self._keep)
            checkpoint_index.write_index(self._folder, entries)
        except BaseException:
            if entry_of(path) is None:
                path.unlink(missing_ok=True)
            second.unlink(missing_ok=True)
            raise
        self._entries = entries
        if best:
            second.replace(self._folder / self._best)
        self._remove_unlisted()
        return entry

    def _remove_unlisted(self) -> None:
        """Remove checkpoints that are not in the index."""
        listed = {entry.file for entry in self._entries}
        listed |= {self._best} if any(entry.best for entry in self._entries) else set()
        listed |= {entry.shards_folder for entry in self._entries}
        for path in self._folder.iterdir():
            own = path.name == self._best or self._names.fullmatch(path.name)
            if own and path.name not in listed:
                # Tried again after the next checkpoint.
                with contextlib.suppress(OSError):
                    path.unlink()
            elif _SHARDS_FOLDER.fullmatch(path.name) and path.name not in listed:
                shutil.rmtree(path, ignore_errors=True)


def entry_of(path: Path) -> CheckpointEntry | None:
    """The index entry of a checkpoint file; for the ``best`` file, that of the best checkpoint. None: not listed."""
    entries = checkpoint_index.newest_first(read_index(path.parent))
    return next((e for e in entries if e.file == path.name or (e.best and path.stem == BEST)), None)


def _fresh(folder: Path, step: int, suffix: str) -> Path:
    """An unused file name: listed files are never overwritten."""
    stem = f"step-{step:08d}"
    names = itertools.chain([f"{stem}{suffix}"], (f"{stem}-{again}{suffix}" for again in itertools.count(2)))
    return next(path for path in map(folder.joinpath, names) if not path.exists())


def check_room(folder: Path, needed: int) -> None:
    """Raises OSError if the disk has too little space."""
    free = shutil.disk_usage(folder).free
    if free < needed + _SLACK_BYTES:
        place = plain(f"{socket.gethostname()}:{folder}", 300)
        why = f"it needs {size(needed + _SLACK_BYTES)} and the disk has {size(free)} left: {place}"
        raise OSError(errno.ENOSPC, why)


def _write(path: Path, state: dict[str, Any], form: CheckpointFormat) -> tuple[str, int]:
    handle, name = tempfile.mkstemp(prefix=_UNFINISHED, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            writer = ChecksummedWriter(file)
            form.write(state, writer)
            file.flush()
            os.fsync(file.fileno())
            length = file.tell()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return writer.hexdigest(), length


class ChecksummedWriter:
    """A file whose SHA-256 is computed while it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def write(self, data: bytes | memoryview) -> int:
        """See `io.BufferedWriter`."""
        self._digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        """See `io.BufferedWriter`."""
        self._file.flush()

    def hexdigest(self) -> str:
        """SHA-256 of what was written."""
        return self._digest.hexdigest()


def _link(path: Path, target: Path) -> None:
    """Make `target` a hard link to `path`; a copy if the file system has no hard links."""
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
