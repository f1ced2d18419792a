"""Lists the runs on another machine."""

from __future__ import annotations

from pathlib import Path

from gputrain.engine.remote import remote_shell
from gputrain.engine.remote.link_replies import wait_for_frames
from gputrain.engine.remote.remote_status import read_status
from gputrain.engine.remote.ssh_link import Link
from gputrain.engine.runs.remote_name import RemoteName
from gputrain.engine.runs.run_directory import RunDir, RunInfo
from gputrain.engine.runs.run_marks import RunMarks, decode_marks


def list_runs(name: RemoteName) -> list[tuple[RunInfo, RunMarks]]:
    """All runs of the user on a host with their marks, newest first; their directories are ``HOST:PATH``.

    Raises LinkLostError if the host cannot be reached.
    """
    with Link(name, interactive=True) as link:
        link.send(remote_shell.listing())
        frames = wait_for_frames(link, "T")
    home = run = ""
    status = b""
    marks = RunMarks()
    found = []
    for letter, payload in frames:
        text = payload.decode("utf-8", "replace")
        match letter:
            case "H":
                home = text
            case "R":
                run = text
            case "M":
                marks = decode_marks(payload)
            case "S":
                status = payload
            case "P" if run and "/" not in run:
                there = RunDir(Path(f"{name.host}:{home}") / run)
                found.append((RunInfo(there, read_status(status, payload)), marks))
            case _:
                pass
    return found
