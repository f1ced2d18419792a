"""A screen ends when its terminal closes."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gputrain.tui.terminal import hangup


@pytest.mark.parametrize("owner", [True, False], ids=["of its session", "of another session"])
def test_a_screen_ends_with_its_terminal(owner: bool, private_homes: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "gputrain.tui.cli", "monitor"]
    if owner:
        command = ["setsid", "--ctty", "--wait", *command]
    screen = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    try:
        seen = b""
        while b"quit" not in seen.lower():
            seen += os.read(ours, 65536)
        os.close(ours)
        assert abs(screen.wait(timeout=60)) % 128 == signal.SIGHUP
    finally:
        screen.kill()
        screen.wait()


def test_an_open_terminal_is_not_reported_as_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "rb", buffering=0) as terminal:
        monkeypatch.setattr(sys, "__stdin__", terminal)
        assert not hangup.is_gone()
        os.close(ours)
        assert hangup.is_gone()
