"""Checkpoint files that are complete or do not count, whatever their form. Imports no torch.

Each is written aside, fsynced and given a name that no other has; ``index.json``, replaced atomically after that,
lists it with its SHA-256, and only then are older ones removed. Whatever fails on the way, the index before is still
true. A file that is not in the index, or does not match its sum, is passed over for the one before.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.checkpointing.checkpoint_index import BEST, Entry, is_whole, read_index
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import size

_UNFINISHED = ".saving-"
_SLACK_BYTES = 16 << 20
"""Room that a checkpoint needs beside its tensors, and that a run needs for its record afterwards."""


PassedOver = Callable[[str], None]
"""Is told of each damaged file that was skipped."""


class CheckpointFormat(Protocol):
    """How a training state becomes a file."""

    suffix: str
    """Of the files' names, with its dot."""

    def size_of(self, state: Any) -> int:
        """Bytes of all tensors in a state."""
        ...

    def write(self, state: dict[str, Any], file: ChecksummedWriter) -> None:
        """Write it from the file's begin on. Raises OSError."""
        ...

    def read(self, path: Path) -> dict[str, Any]:
        """What was written. Raises anything for what was not; runs none of it."""
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
        # What a killed trainer of this run left half written.
        for unfinished in folder.glob(f"{_UNFINISHED}*"):
            unfinished.unlink(missing_ok=True)
        # Or whole and not listed. Where there is no index, or a damaged one, a person may still want them.
        if self._entries:
            self._remove_unlisted()

    def go_on_from(self, step: int) -> None:
        """Forget what is listed beyond `step`: it is damaged, and its steps are done again. It goes with the next
        checkpoint.
        """
        self._entries = [entry for entry in self._entries if entry.step <= step]

    def save(self, state: dict[str, Any], *, step: int, epoch: int, best: bool) -> Entry:
        """Write the state of `step`, as ``best`` too if it is the best, and remove what is too old.

        Raises OSError, leaving what was there.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        _check_room(self._folder, self._form.size_of(state))
        path = _fresh(self._folder, step, self._form.suffix)
        second = self._folder / f"{_UNFINISHED}{self._best}"
        try:
            entry = Entry(path.name, step, epoch, *_write(path, state, self._form), best=best)
            if best:
                _link(path, second)
            entries = self._with(entry)
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

    def _with(self, entry: Entry) -> list[Entry]:
        """The index with `entry`, without what it takes the place of: the best before it, its step's last one, and
        all but the last few.
        """
        entries = [msgspec.structs.replace(e, best=e.best and not entry.best) for e in self._entries]
        entries = [e for e in entries if e.best or e.step != entry.step] + [entry]
        return [e for number, e in enumerate(entries) if e.best or number >= len(entries) - self._keep]

    def _remove_unlisted(self) -> None:
        """Remove the checkpoints that are too old, and what was written and never listed."""
        listed = {entry.file for entry in self._entries}
        listed |= {self._best} if any(entry.best for entry in self._entries) else set()
        for path in self._folder.iterdir():
            own = path.name == self._best or self._names.fullmatch(path.name)
            if own and path.name not in listed:
                # What cannot be removed now may be so the next time.
                with contextlib.suppress(OSError):
                    path.unlink()


def entry_of(path: Path) -> Entry | None:
    """What the index of its folder says of a checkpoint file; of the ``best`` one, what it says of the best."""
    entries = checkpoint_index.newest_first(read_index(path.parent))
    return next((e for e in entries if e.file == path.name or (e.best and path.stem == BEST)), None)


def _fresh(folder: Path, step: int, suffix: str) -> Path:
    """A name that is not taken: what the index lists is never written again."""
    stem = f"step-{step:08d}"
    names = itertools.chain([f"{stem}{suffix}"], (f"{stem}-{again}{suffix}" for again in itertools.count(2)))
    return next(path for path in map(folder.joinpath, names) if not path.exists())


def _check_room(folder: Path, needed: int) -> None:
    """Raises OSError before anything is written, if the disk cannot take it all."""
    free = shutil.disk_usage(folder).free
    if free < needed + _SLACK_BYTES:
        raise OSError(errno.ENOSPC, f"it needs {size(needed + _SLACK_BYTES)} and the disk has {size(free)} left")


def _write(path: Path, state: dict[str, Any], form: CheckpointFormat) -> tuple[str, int]:
    handle, name = tempfile.mkstemp(prefix=_UNFINISHED, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            summed = ChecksummedWriter(file)
            form.write(state, summed)
            file.flush()
            os.fsync(file.fileno())
            length = file.tell()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return summed.hexdigest(), length


class ChecksummedWriter:
    """A file that is summed up while it is written: cheaper than to read it again."""

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
    """Make `target` the same file as `path`; a copy where the file system has no hard links."""
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


def load(source: str, form: CheckpointFormat, passed_over: PassedOver) -> dict[str, Any]:
    """The state in a checkpoint file, or in the newest good one of a folder or run directory, in `form`.

    `passed_over` is told of each damaged file that was skipped. Raises BadInput where there is none.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _load_newest(path / "checkpoints" if (path / "checkpoints").is_dir() else path, form, passed_over)
    if not path.is_file():
        raise BadInput(f"resume_from: {plain(source, 200)} does not exist")
    entry = entry_of(path)
    if entry is not None:
        path = path.with_name(entry.file)
        if not is_whole(path.parent, entry):
            raise BadInput(f"resume_from: {path} is damaged: its content does not match its checksum")
    return _read(path, form)


def _load_newest(folder: Path, form: CheckpointFormat, passed_over: PassedOver) -> dict[str, Any]:
    for entry in checkpoint_index.newest_first(read_index(folder)):
        if is_whole(folder, entry):
            return _read(folder / entry.file, form)
        passed_over(f"checkpoint {entry.file} (step {entry.step}) is damaged or gone; trying the one before")
    raise BadInput(f"resume_from: {folder} has no complete checkpoint")


def _read(path: Path, form: CheckpointFormat) -> dict[str, Any]:
    try:
        state = form.read(path)
    except Exception as error:  # noqa: BLE001 - a reader raises whatever it meets in a foreign file
        raise BadInput(f"resume_from: {path} is not a checkpoint: {plain(str(error), 200)}") from None
    if "position" not in state:
        raise BadInput(f"resume_from: {path} holds no training state; for weights alone use weights={path}")
    return state
