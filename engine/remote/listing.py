"""The runs of another machine, for lists, and by the names that people gave them."""

from __future__ import annotations

from pathlib import Path

from gputrain.engine.marks import Marks, decode_marks
from gputrain.engine.remote import shell
from gputrain.engine.remote.answers import wait_for_all
from gputrain.engine.remote.facts import read_status
from gputrain.engine.remote.link import Link
from gputrain.engine.remote.name import RemoteName
from gputrain.engine.runs import RunDir, RunInfo


def list_runs(name: RemoteName) -> list[tuple[RunInfo, Marks]]:
    """All runs of the user on a host with their marks, the newest first; their directories read ``HOST:PATH``.

    Raises LinkLostError where the host cannot be reached.
    """
    with Link(name, asking=True) as link:
        link.send(shell.listing())
        frames = wait_for_all(link, "T")
    home = run = ""
    status = b""
    marks = Marks()
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
