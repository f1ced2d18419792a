"""Names of runs: the id that a new run gets, and which run a user's name, an id, a part of one or ``last`` means."""

from __future__ import annotations

import contextlib
import re
from datetime import datetime
from pathlib import Path

import msgspec

from gputrain.engine.common.errors import BadInput, did_you_mean
from gputrain.engine.common.sanitize import plain

DEFAULT_ID = re.compile(r"\d{8}-\d{6}-[A-Za-z0-9._-]+")
"""Pattern of the ids that `default_id` gives."""


def default_id(label: str, now: datetime) -> str:
    """The id of a run that starts at `now`: its time and `label`, with characters that file names may hold."""
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-.")[:40] or "run"
    return f"{now:%Y%m%d-%H%M%S}-{word}"


def refuse_remote(name: str) -> None:
    """Raises BadInput if `name`, which no local run has, looks like a run on another machine."""
    from gputrain.engine.runs.remote_name import parse  # rarely needed

    remote = None
    # An invalid host: an unknown local name.
    with contextlib.suppress(BadInput):
        remote = parse(name)
    if remote is not None:
        raise BadInput(
            f"'{plain(name, 80)}' is a run on another machine: tail, diagnose and stop reach there, and runs "
            f"{plain(remote.host, 80)}: lists them; for other commands log in there: ssh {plain(remote.ssh_host, 80)}"
        )


class _Named(msgspec.Struct):
    name: str = ""


def given_name(directory: Path) -> str:
    """The user's name of the run in `directory`, from its marks or its settings; empty if none."""
    written = []
    for file in ("marks.json", "status.json"):
        with contextlib.suppress(OSError):
            written.append((directory / file).read_bytes())
    return name_in(*written)


def name_in(*written: bytes) -> str:
    """The first name in the contents of ``marks.json`` and ``status.json``; empty if none."""
    for one in written:
        # Skip an incomplete file.
        with contextlib.suppress(msgspec.DecodeError, UnicodeError):
            if name := msgspec.json.decode(one, type=_Named).name:
                return name
    return ""


def choose(name: str, ids: list[str], place: str, see: str) -> str:
    """The id in `ids` (newest first) that `name` means. `place`: their folder; `see`: the command that lists them.

    Raises BadInput with the nearest name.
    """
    if not ids:
        raise BadInput(f"there are no runs yet in {plain(place)}; start one with: gputrain-tui train --recipe demo")
    if name == "last":
        return ids[0]
    exact = [i for i in ids if i == name]
    near = exact or [i for i in ids if name and (i.startswith(name) or i.endswith(name))]
    if len(near) == 1:
        return near[0]
    if near:
        raise BadInput(
            f"'{plain(name, 80)}' fits {len(near)} runs: {', '.join(near[:4])}{' …' if len(near) > 4 else ''}"
        )
    raise BadInput(f"no run is called '{plain(name, 80)}'{did_you_mean(name, ids)}; see: {see}")
