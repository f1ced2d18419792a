"""Names and owners of processes."""

from __future__ import annotations

import pwd
import threading
from pathlib import Path

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import GpuProcess

_HOST_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO: the name of the pid namespace that NVML's pids belong to."""


LETTERS = 60
"""Of a command that are told where samples are recorded."""


def command_line(pid: int, proc: Path = Path("/proc"), letters: int = LETTERS) -> str:
    """The command line; of paths only their ends, which tell commands apart. Empty where it can't be read."""
    try:
        words = (proc / str(pid) / "cmdline").read_bytes()[:1000].split(b"\0")
    except OSError:
        return ""
    short = [word.rpartition(b"/")[2] if word.startswith(b"/") else word for word in words]
    return plain(b" ".join(short).decode("utf-8", "replace").strip(), letters)


class ProcessOwners:
    """Names and owners of other processes; asked for on a thread, as a directory service may be slow."""

    def __init__(self, proc: Path = Path("/proc"), letters: int = LETTERS) -> None:
        """`letters`: how much of a command is told."""
        self._proc, self._letters = proc, letters
        self._users: dict[int, str] = {}
        try:
            # In a container NVML still tells the host's pids, which mean nothing here.
            self._foreign = str((proc / "self" / "ns" / "pid").readlink()) != _HOST_NAMESPACE
        except OSError:
            self._foreign = False

    def describe(self, process: GpuProcess, ours: frozenset[int]) -> GpuProcess:
        """`process` with its command, its user, and whether it is of this run."""
        if process.pid in ours:
            return GpuProcess(pid=process.pid, memory=process.memory, ours=True, name=self.name(process.pid))
        if self._foreign:
            return GpuProcess(pid=process.pid, memory=process.memory, hidden=True)
        user = self.user(process.pid)
        return GpuProcess(pid=process.pid, memory=process.memory, name=self.name(process.pid), user=user)

    def name(self, pid: int) -> str:
        """The command line; of paths only their ends, which tell commands apart. Empty where it can't be read."""
        return command_line(pid, self._proc, self._letters)

    def user(self, pid: int) -> str:
        """Whose it is: a name, or a number until that is known; empty for a process that has ended."""
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
            return  # its number has to do
