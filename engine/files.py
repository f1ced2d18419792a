"""Where things are kept, and writing files so that a crash leaves the old or the new one, whole."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def state_home() -> Path:
    """The folder of all runs' state: ``$GPUTRAIN_HOME`` or ``$XDG_STATE_HOME/gputrain``."""
    if own := os.environ.get("GPUTRAIN_HOME"):
        return Path(own).expanduser()
    return _xdg("XDG_STATE_HOME", ".local/state") / "gputrain"


def cache_home() -> Path:
    """The folder of data that can be made again: ``$GPUTRAIN_CACHE`` or ``$XDG_CACHE_HOME/gputrain``."""
    if own := os.environ.get("GPUTRAIN_CACHE"):
        return Path(own).expanduser()
    return _xdg("XDG_CACHE_HOME", ".cache") / "gputrain"


def config_home() -> Path:
    """The folder of the user's own profiles and recipes: ``$XDG_CONFIG_HOME/gputrain``."""
    if own := os.environ.get("GPUTRAIN_CONFIG"):
        return Path(own).expanduser()
    return _xdg("XDG_CONFIG_HOME", ".config") / "gputrain"


def _xdg(variable: str, default: str) -> Path:
    # The XDG base directory specification: a relative path in the variable is to be ignored.
    value = os.environ.get(variable, "")
    return Path(value) if Path(value).is_absolute() else Path.home() / default


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
