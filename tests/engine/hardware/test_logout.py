"""Hosts that kill a user's processes at logout are detected before a run starts."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from gputrain.engine.hardware.logout import logout_kills_processes

UID = os.getuid()
USER = pwd.getpwuid(UID).pw_name
SESSION = f"0::/user.slice/user-{UID}.slice/session-3.scope\n"
MANAGER = f"0::/user.slice/user-{UID}.slice/user@{UID}.service/app.slice/run-1.scope\n"


def host(root: Path, cgroup: str, **files: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    (root / "run/systemd/system").mkdir(parents=True)
    for name, text in files.items():
        path = root / "etc/systemd" / ("logind.conf" if name == "main" else f"logind.conf.d/{name}.conf")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"[Login]\n{text}\n")
    return root


EVERYBODY = "KillUserProcesses=yes\nKillExcludeUsers="


@pytest.mark.parametrize(
    ("files", "ends"),
    [
        ({}, False),
        ({"main": EVERYBODY}, True),
        ({"main": "#KillUserProcesses=yes"}, False),
        ({"main": EVERYBODY, "a": "KillUserProcesses=no"}, False),
        ({"main": "KillUserProcesses=no", "a": "KillUserProcesses=no", "b": EVERYBODY}, True),
        ({"main": f"KillUserProcesses=yes\nKillExcludeUsers=other {USER}"}, False),
        ({"main": "KillUserProcesses=yes\nKillOnlyUsers=somebody-else"}, False),
        ({"main": f"KillUserProcesses=yes\nKillOnlyUsers={USER}"}, True),
    ],
)
def test_a_login_session(tmp_path: Path, files: dict[str, str], ends: bool) -> None:
    said = logout_kills_processes(host(tmp_path, SESSION, **files), UID)
    assert bool(said) == ends
    if ends:
        assert "systemd-run --user --scope" in said
        assert "loginctl enable-linger" in said


def test_user_manager_needs_lingering(tmp_path: Path) -> None:
    root = host(tmp_path, MANAGER, main=EVERYBODY)
    assert "systemd then stops your user manager" in logout_kills_processes(root, UID)
    (root / "var/lib/systemd/linger").mkdir(parents=True)
    (root / "var/lib/systemd/linger" / USER).touch()
    assert logout_kills_processes(root, UID) == ""


def test_no_warning_without_a_login_session(tmp_path: Path) -> None:
    assert logout_kills_processes(host(tmp_path, "0::/system.slice/slurmd.service\n", main=EVERYBODY), UID) == ""
    assert logout_kills_processes(tmp_path / "nothing", UID) == ""
