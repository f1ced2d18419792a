"""Records what commands print, each line with its second: for the docs/record_*.py of sessions without screens."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

PROGRAM = [sys.executable, "-m", "gputrain.tui.cli"]
TIMEOUT = 120.0
_INSIDE = "GPUTRAIN_SESSION_HOST"


class Recorder:
    """Lines as they come, each with the second since the beginning."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        """`timeout`: of `wait_for`, in seconds."""
        self.lines: list[str] = []
        self._began = time.monotonic()
        self._timeout = timeout
        self._lock = threading.Lock()

    def add(self, text: str) -> None:
        """Note a line."""
        with self._lock:
            self.lines.append(f"{time.monotonic() - self._began:6.1f} s  {text.rstrip()}")

    def run(self, command: str) -> int:
        """Run a command to its end, and note what it prints. Returns its exit code."""
        self.add(f"$ gputrain-tui {command}")
        done = subprocess.run(
            [*PROGRAM, *command.split()], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in done.stdout.splitlines():
            self.add(line)
        return done.returncode

    def wait_for(self, words: str, count: int = 1) -> None:
        """Until so many lines hold `words`. Raises TimeoutError."""
        until = time.monotonic() + self._timeout
        while sum(words in line for line in self.lines) < count:
            if time.monotonic() > until:
                raise TimeoutError(f"no line with '{words}':\n" + "\n".join(self.lines))
            time.sleep(0.05)

    def wait_for_next(self, words: str, count: int = 1) -> None:
        """Until so many new lines hold `words`. Raises TimeoutError."""
        self.wait_for(words, sum(words in line for line in self.lines) + count)


def follow(command: str, take: Callable[[str], None]) -> tuple[subprocess.Popen[str], threading.Thread]:
    """Start a command; each line that it prints is given to `take`."""
    process = subprocess.Popen(
        [*PROGRAM, *command.split()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )

    def gather() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            take(line)

    thread = threading.Thread(target=gather, daemon=True)
    thread.start()
    return process, thread


def without_places(text: str, folder: Path) -> str:
    """`text` with ``~`` in place of this machine's folders."""
    for place in (str(folder), os.environ.get("GPUTRAIN_CACHE", "") or str(folder), str(Path.home()), sys.prefix):
        text = text.replace(place, "~")
    return text


def in_namespaces(host: str) -> None:
    """Start the script again as machine `host` with processes and mounts of its own, and exit; there, return.

    So no other program, and no other name, is in the session. Needs root.
    """
    if os.environ.get(_INSIDE) != host:
        alone = ["unshare", "--pid", "--fork", "--mount-proc", "--uts"]
        done = subprocess.run([*alone, sys.executable, *sys.argv], env={**os.environ, _INSIDE: host}, check=False)
        sys.exit(done.returncode)
    subprocess.run(["hostname", host], check=True)
