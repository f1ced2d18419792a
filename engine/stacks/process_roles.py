"""Names the processes of a run for its stacks: trainer, ranks, data workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from gputrain.engine.common.sanitize import plain
from gputrain.engine.processes.rank_board import read_board

_HELPERS = ("multiprocessing.forkserver", "multiprocessing.spawn")


def role_namer(directory: Path, trainer: int | None, *, script: bool) -> Callable[[psutil.Process], str]:
    """A function that names a process. `trainer`: process id of the trainer or of the script's command."""
    board = {place.pid: place.rank for place in read_board(directory)}
    ranks: Mapping[int, int] = board if len(board) > 1 else {}

    def role(process: psutil.Process) -> str:
        if process.pid in ranks:
            return f"rank {ranks[process.pid]}"
        command = process.cmdline()
        parent = process.parent()
        forked = parent is not None and command == parent.cmdline() and process.pid != trainer
        if script and not forked and (number := environment_number(process.pid, "RANK")) is not None:
            return f"rank {number}"
        if process.pid == trainer:
            return "script" if script else "trainer"
        if forked or any(part in word for part in _HELPERS for word in command):
            return "data worker" if not script else "worker"
        return plain(process.name(), 40)

    return role


def environment_number(pid: int, name: str) -> int | None:
    """A variable of a process's environment, such as ``RANK`` which torchrun sets; None without, or if no number."""
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    start = os.fsencode(f"{name}=")
    found = next((os.fsdecode(word[len(start) :]) for word in words if word.startswith(start)), "")
    return int(found) if found.isdecimal() and len(found) < 8 else None
