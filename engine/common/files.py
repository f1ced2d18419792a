"""The folders for state, cache and configuration, and atomic file writes."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain

READABLE = 0o644
"""File mode: everybody may read exported files."""


def state_home() -> Path:
    """The folder of all runs' state: ``$GPUTRAIN_HOME`` or ``$XDG_STATE_HOME/gputrain``. Raises BadInput."""
    return _home("GPUTRAIN_HOME", "XDG_STATE_HOME", ".local/state")


def cache_home() -> Path:
    """The folder for recreatable data: ``$GPUTRAIN_CACHE`` or ``$XDG_CACHE_HOME/gputrain``. Raises BadInput."""
    return _home("GPUTRAIN_CACHE", "XDG_CACHE_HOME", ".cache")


def config_home() -> Path:
    """The user's own profiles and recipes: ``$GPUTRAIN_CONFIG`` or ``$XDG_CONFIG_HOME/gputrain``. Raises BadInput."""
    return _home("GPUTRAIN_CONFIG", "XDG_CONFIG_HOME", ".config")


def _home(own: str, xdg: str, default: str) -> Path:
    value = os.environ.get(xdg, "")
    try:
        if folder := os.environ.get(own):
            return Path(folder).expanduser()
        # The XDG base directory specification: a relative path in the variable is ignored.
        return (Path(value) if Path(value).is_absolute() else Path.home() / default) / "gputrain"
    except RuntimeError:  # no $HOME and no entry in the password file, as in some containers
        raise BadInput(f"no home directory can be found: set {own} to a folder of your own") from None


def expand_user(path: str | Path) -> Path:
    """`path` with a leading ``~`` or ``~user`` replaced by that home folder. Raises BadInput if there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = Path(path).parts[0]
        raise BadInput(
            f"{plain(str(path))}: no home directory for {plain(user)} (a file of that name: ./{plain(user)})"
        ) from None


def last_line(path: Path, limit: int = 300) -> str:
    """The last line in the last 4,000 bytes of a log file, sanitized; empty if there is none."""
    try:
        lines = path.read_bytes()[-4000:].decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return plain(lines[-1], limit) if lines else ""


def write_atomic(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace `path` with `content` atomically: write a temporary file, fsync, rename, fsync the folder.

    Raises OSError and keeps the old file.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Fsync a folder, so that a power failure does not undo the rename. Some file systems do not support it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def private_folder(folder: Path) -> bool:
    """Create `folder` with mode 0700. False if another user owns or can replace it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        own, above = folder.lstat(), folder.parent.stat()
    except OSError:
        return False
    ours = stat.S_ISDIR(own.st_mode) and own.st_uid == os.geteuid() and not own.st_mode & 0o022
    # Who can write to the parent folder can replace this one, unless the sticky bit is set.
    safe = above.st_uid in (0, os.geteuid()) and (not above.st_mode & 0o022 or bool(above.st_mode & stat.S_ISVTX))
    return ours and safe


def write_output(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically. Raises BadInput if the file cannot be written."""
    try:
        write_atomic(path, data, READABLE)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from None
