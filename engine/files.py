"""Where things are kept, and writing files so that a crash leaves the old or the new one, whole."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from gputrain.engine.errors import BadInput


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
    """Replace `path` by `content`: written aside, fsynced, renamed. Raises OSError, leaving the old file."""
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
