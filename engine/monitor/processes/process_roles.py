"""What each process of a run does, told by its command and its parent's role. Pure."""

from __future__ import annotations

_BY_COMMAND = (
    ("resource_tracker", "cleaner"),
    ("compile_worker", "compiler"),
    ("gputrain.engine.loggers", "logger"),
)
"""Parts of commands: what removes shared memory that leaked, torch.compile's helpers, and what feeds TensorBoard."""


def role_of(command: str, parent: str) -> str:
    """The role of a process whose parent has the role `parent`; empty if it is none of ours.

    The supervisor spawns the trainer, and that helpers; data workers are forked from a server of the trainer's, with
    its command.
    """
    for part, role in _BY_COMMAND:
        if part in command:
            return role
    if "multiprocessing.forkserver" in command:
        return "worker" if parent == "fork server" else "fork server"
    if "multiprocessing.spawn" in command:
        return {"supervisor": "trainer", "trainer": "helper"}.get(parent, "")
    return ""
