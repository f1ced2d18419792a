"""Where things are kept, and writing files so that a crash leaves the old or the new one, whole."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from gputrain.engine.common.errors import BadInput


def state_home() -> Path:
    """The folder of all runs' state: ``$GPUTRAIN_HOME`` or ``$XDG_STATE_HOME/gputrain``. Raises BadInput."""
    return _home("GPUTRAIN_HOME", "XDG_STATE_HOME", ".local/state")


def cache_home() -> Path:
    """Data that can be made again: ``$GPUTRAIN_CACHE`` or ``$XDG_CACHE_HOME/gputrain``. Raises BadInput."""
    return _home("GPUTRAIN_CACHE", "XDG_CACHE_HOME", ".cache")


def config_home() -> Path:
    """The user's own profiles and recipes: ``$GPUTRAIN_CONFIG`` or ``$XDG_CONFIG_HOME/gputrain``. Raises BadInput."""
    return _home("GPUTRAIN_CONFIG", "XDG_CONFIG_HOME", ".config")


def _home(own: str, xdg: str, default: str) -> Path:
    value = os.environ.get(xdg, "")
    try:
        if folder := os.environ.get(own):
            return Path(folder).expanduser()
        # The XDG base directory specification: a relative path in the variable is to be ignored.
        return (Path(value) if Path(value).is_absolute() else Path.home() / default) / "gputrain"
    except RuntimeError:  # no $HOME and no entry in the password file, as in some containers
        raise BadInput(f"no home directory can be found: set {own} to a folder of yours") from None


def write_atomic(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `content`: written aside, fsynced, renamed, and the folder's new entry fsynced too.

    Raises OSError, leaving the old file.
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
    _keep_entry(path.parent)


def _keep_entry(folder: Path) -> None:
    """Without it the rename itself may be undone by a power cut. Some file systems know no such call."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def private_folder(folder: Path) -> bool:
    """Make `folder` for its owner alone; False if it is, or lies in, another user's, who could put anything there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        own, above = folder.lstat(), folder.parent.stat()
    except OSError:
        return False
    ours = stat.S_ISDIR(own.st_mode) and own.st_uid == os.geteuid() and not own.st_mode & 0o022
    # Who may write to the folder above may put another one in its place, unless only owners may take theirs away.
    safe = above.st_uid in (0, os.geteuid()) and (not above.st_mode & 0o022 or bool(above.st_mode & stat.S_ISVTX))
    return ours and safe
