"""Whether a run on another machine still goes on, from what its directory and that machine's kernel say."""

from __future__ import annotations

import msgspec

from gputrain.engine.runs.run_directory import State, Status

FRESH_SECONDS = 15.0
"""A supervisor writes its status every second; a heartbeat this old, and no process of its, mean that it is gone."""


def read_status(status: bytes, place: bytes) -> Status | None:
    """The status in frame S, judged by frame P of the same moment (see `gputrain.engine.remote.remote_shell`).

    `State.DIED` if the status says that the run goes on, its process is not there, and its heartbeat is old:
    each alone proves nothing, for the process may be in a container or on another host that shares the disk.
    None for a status that cannot be read.
    """
    try:
        found = msgspec.json.decode(status, type=Status)
    except (msgspec.DecodeError, UnicodeError):
        return None
    if found.state.over:
        return found
    now, boot_id, stat = [*place.decode("utf-8", "replace").split("\n", 2), "", "", ""][:3]
    if _is_there(found, boot_id, stat) or not now.isdigit() or int(now) - found.heartbeat < FRESH_SECONDS:
        return found
    reason = "the supervisor is gone without a word: killed, or the machine went down"
    return msgspec.structs.replace(found, state=State.DIED, reason=reason)


def _is_there(status: Status, boot_id: str, stat: str) -> bool:
    if not boot_id or boot_id != status.boot_id:
        return False
    # proc(5): the name in parentheses may hold anything, the 22nd field is the start time.
    fields = stat.rpartition(")")[2].split()
    return len(fields) > 19 and fields[0] != "Z" and fields[19] == f"{status.pid_started:.0f}"
