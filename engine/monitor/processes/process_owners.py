"""Command lines and users of processes."""

from __future__ import annotations

import pwd
import threading
from pathlib import Path

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import GpuProcess

_HOST_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO: the initial pid namespace, to which NVML's pids belong."""


LETTERS = 60
"""Characters of a command line in recorded samples."""


def command_line(pid: int, proc: Path = Path("/proc"), letters: int = LETTERS) -> str:
    """The command line with file names instead of full paths; empty where it cannot be read."""
    try:
        words = (proc / str(pid) / "cmdline").read_bytes()[:1000].split(b"\0")
    except OSError:
        return ""
    short = [word.rpartition(b"/")[2] if word.startswith(b"/") else word for word in words]
    return plain(b" ".join(short).decode("utf-8", "replace").strip(), letters)


class ProcessOwners:
    """Command lines and users of processes; looks users up in a thread, as a directory service may be slow."""

    def __init__(self, proc: Path = Path("/proc"), letters: int = LETTERS) -> None:
        """`letters`: most characters of a command line."""
        self._proc, self._letters = proc, letters
        self._users: dict[int, str] = {}
        try:
            # In a container NVML still reports the host's pids, which mean nothing here.
            self._foreign = str((proc / "self" / "ns" / "pid").readlink()) != _HOST_NAMESPACE
        except OSError:
            self._foreign = False

    def describe(self, process: GpuProcess, ours: frozenset[int]) -> GpuProcess:
        """`process` with its command line, its user, and whether it belongs to this run."""
        if process.pid in ours:
            return GpuProcess(pid=process.pid, memory=process.memory, ours=True, name=self.name(process.pid))
        if self._foreign:
            return GpuProcess(pid=process.pid, memory=process.memory, hidden=True)
        user = self.user(process.pid)
        return GpuProcess(pid=process.pid, memory=process.memory, name=self.name(process.pid), user=user)

    def name(self, pid: int) -> str:
        """The command line with file names instead of full paths; empty where it cannot be read."""
        return command_line(pid, self._proc, self._letters)

    def user(self, pid: int) -> str:
        """The user's name, or the uid until the name is known; empty for a process that has ended."""
        try:
            number = (self._proc / str(pid)).stat().st_uid
        except OSError:
            return ""
        if number not in self._users:
            self._users[number] = str(number)
            threading.Thread(target=self._look_up, args=(number,), name="user", daemon=True).start()
        return self._users[number]

    def _look_up(self, number: int) -> None:
        try:
            self._users[number] = plain(pwd.getpwuid(number).pw_name, 32)
        except KeyError:
            return  # the uid is shown instead
