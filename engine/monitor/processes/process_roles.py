"""The role of each process of a run (supervisor, trainer, worker …), from its command and its parent's role. Pure."""

from __future__ import annotations

_BY_COMMAND = (
    ("resource_tracker", "cleaner"),
    ("compile_worker", "compiler"),
    ("gputrain.engine.loggers", "logger"),
)
"""Role by a part of the command: the cleaner of leaked shared memory, torch.compile's helpers, the TensorBoard
writer."""


def role_of(command: str, parent: str) -> str:
    """The role of a process whose parent has the role `parent`; empty if it is unknown.

    The supervisor spawns the trainer, which spawns helpers. Data workers are forked from the trainer's fork server and
    have its command.
    """
    for part, role in _BY_COMMAND:
        if part in command:
            return role
    if "multiprocessing.forkserver" in command:
        return "worker" if parent == "fork server" else "fork server"
    if "multiprocessing.spawn" in command:
        return {"supervisor": "trainer", "trainer": "helper"}.get(parent, "")
    return ""
