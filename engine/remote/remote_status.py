"""Whether a run on another machine is live, from its status file and that machine's process table."""

from __future__ import annotations

import msgspec

from gputrain.engine.runs.run_directory import State, Status

FRESH_SECONDS = 15.0
"""A supervisor writes its status every second: with an older heartbeat and no process it is dead."""


def read_status(status: bytes, place: bytes) -> Status | None:
    """The status in frame S, checked against frame P of the same moment (see `gputrain.engine.remote.remote_shell`).

    `State.DIED` if the status is live, its process does not exist, and its heartbeat is old. One of the two is not
    enough: the process may be in a container or on another host that shares the disk. None for an unreadable status.
    """
    try:
        found = msgspec.json.decode(status, type=Status)
    except (msgspec.DecodeError, UnicodeError):
        return None
    if found.state.over or found.state is State.QUEUED:
        return found
    now, boot_id, stat = [*place.decode("utf-8", "replace").split("\n", 2), "", "", ""][:3]
    if _process_exists(found, boot_id, stat) or not now.isdigit() or int(now) - found.heartbeat < FRESH_SECONDS:
        return found
    reason = "the supervisor ended without a message: it was killed, or the machine went down"
    return msgspec.structs.replace(found, state=State.DIED, reason=reason)


def _process_exists(status: Status, boot_id: str, stat: str) -> bool:
    if not boot_id or boot_id != status.boot_id:
        return False
    # proc(5): the name in parentheses may hold anything, the 22nd field is the start time.
    fields = stat.rpartition(")")[2].split()
    return len(fields) > 19 and fields[0] != "Z" and fields[19] == f"{status.pid_started:.0f}"
