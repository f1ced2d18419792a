"""Whether this host kills a user's processes at logout, and how to start a run that survives it.

A new session (setsid) does not help: systemd kills everything in the login's cgroup (logind.conf(5),
KillUserProcesses=; loginctl(1), enable-linger).
"""

from __future__ import annotations

import pwd
import re
from collections.abc import Mapping
from pathlib import Path

_FOLDERS = ("usr/lib/systemd", "usr/local/lib/systemd", "run/systemd", "etc/systemd")
"""In increasing precedence."""
_REMEDY = (
    "start it with: systemd-run --user --scope gputrain-tui …; run once, so that your processes survive a logout: "
    "loginctl enable-linger"
)


def logout_kills_processes(root: Path, uid: int) -> str:
    """Why a run started now would end at logout, with the remedy; empty if it would not.

    `root` is the root of the file system, `uid` the user. Reads files only, and no D-Bus.
    """
    cgroup = _read(root / "proc/self/cgroup")
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    if f"user@{uid}.service" in cgroup:
        if (root / "var/lib/systemd/linger" / user).exists() or not (root / "run/systemd/system").is_dir():
            return ""
        return (
            "the run would end with your last logout, because systemd then stops your user manager; to prevent that, "
            "run once: loginctl enable-linger"
        )
    if not re.search(r"session-[^/\n]*\.scope", cgroup) or not _kills(_settings(root), user):
        return ""
    return f"the run would end when you log out (KillUserProcesses=yes on this host); {_REMEDY}"


def _kills(settings: Mapping[str, str], user: str) -> bool:
    if settings.get("KillUserProcesses", "no").lower() not in ("yes", "true", "on", "1"):
        return False
    if only := settings.get("KillOnlyUsers", "").split():
        return user in only
    return user not in settings.get("KillExcludeUsers", "root").split()


def _settings(root: Path) -> dict[str, str]:
    """logind's settings: the main file, then the drop-in files by name, whatever folder they are in."""
    main = [root / folder / "logind.conf" for folder in _FOLDERS]
    fragments: dict[str, Path] = {}
    for folder in _FOLDERS:
        fragments |= {path.name: path for path in (root / folder / "logind.conf.d").glob("*.conf")}
    found: dict[str, str] = {}
    for path in (*main, *(fragments[name] for name in sorted(fragments))):
        for line in _read(path).splitlines():
            name, equals, value = line.partition("=")
            if equals and not line.lstrip().startswith(("#", ";")):
                found[name.strip()] = value.strip()
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
