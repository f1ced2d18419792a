"""Where files are kept, and that a write leaves the old or the new one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput


def test_a_file_is_replaced_whole_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    files.write_atomic(path, b"one")
    files.write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "inside").touch()
    with pytest.raises(OSError, match="directory"):
        files.write_atomic(path, b"new")
    assert list(tmp_path.iterdir()) == [path], "no temporary file is left"
    with pytest.raises(FileNotFoundError):
        files.write_atomic(tmp_path / "none" / "file", b"")


def test_the_folder_is_synced_after_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[tuple[bool, bool]] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        flushed.append((stat.S_ISDIR(os.fstat(handle).st_mode), (tmp_path / "one").exists()))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    files.write_atomic(tmp_path / "one", b"")
    assert flushed == [(False, False), (True, True)]


def test_only_a_folder_that_nobody_else_can_fill_is_private(tmp_path: Path) -> None:
    own = tmp_path / "own"
    assert files.private_folder(own)
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    own.chmod(0o770)
    assert not files.private_folder(own)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    assert not files.private_folder(shared / "inside")
    shared.chmod(0o1777)
    assert files.private_folder(shared / "inside")
    (tmp_path / "link").symlink_to(shared / "inside")
    assert not files.private_folder(tmp_path / "link")


@pytest.mark.parametrize(
    ("home", "own", "xdg", "fallback"),
    [
        (files.state_home, "GPUTRAIN_HOME", "XDG_STATE_HOME", ".local/state/gputrain"),
        (files.cache_home, "GPUTRAIN_CACHE", "XDG_CACHE_HOME", ".cache/gputrain"),
        (files.config_home, "GPUTRAIN_CONFIG", "XDG_CONFIG_HOME", ".config/gputrain"),
    ],
)
def test_each_home_follows_its_variables(
    home: object, own: str, xdg: str, fallback: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert callable(home)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(own, raising=False)
    monkeypatch.setenv(xdg, "relative/is/ignored")
    assert home() == tmp_path / fallback
    monkeypatch.setenv(xdg, "/x")
    assert home() == Path("/x/gputrain")
    monkeypatch.setenv(own, "~/mine")
    assert home() == tmp_path / "mine"


def test_a_home_that_cannot_be_found_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUTRAIN_HOME", "~no-such-user-here/x")
    with pytest.raises(BadInput, match="GPUTRAIN_HOME"):
        files.state_home()
