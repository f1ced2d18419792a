"""Which process a number stood for: process ids are used again."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from gputrain.engine.runs.status_file import boot_id, process_started


class ProcessIdentity(msgspec.Struct, frozen=True):
    """A process of this boot of this host."""

    pid: int
    started: float
    """As in `Status.pid_started`."""
    boot_id: str

    @property
    def runs(self) -> bool:
        """Whether it still runs, on this host."""
        return self.boot_id == boot_id() and self.started > 0 and self.started == process_started(self.pid)


def of_process(pid: int) -> ProcessIdentity:
    """The identity of a process that runs now."""
    return ProcessIdentity(pid, process_started(pid), boot_id())


def read_identity(path: Path) -> ProcessIdentity | None:
    """The identity in a file; None without one that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ProcessIdentity)
    except (OSError, msgspec.DecodeError, UnicodeError):
        return None


def session_of(leader: ProcessIdentity) -> list[int]:
    """Processes that run in the session which `leader` began, itself included; none after a reboot.

    Its number names no other process as long as one of them runs.
    """
    if leader.boot_id != boot_id() or process_started(leader.pid) not in (0.0, leader.started):
        return []
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                words = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            # State, parent, group, session.
            if int(words[3]) == leader.pid and words[0] not in "ZX":
                found.append(int(entry.name))
    return sorted(found)
