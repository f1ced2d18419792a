"""What a person calls a run: a name of their own, an id or a part of one, ``last``; or a run on another machine."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from gputrain.engine.common.errors import BadInput, did_you_mean
from gputrain.engine.common.sanitize import plain


def refuse_remote(name: str) -> None:
    """Raises BadInput if `name`, which no run here has, reads as that of a run on another machine."""
    from gputrain.engine.runs.remote_name import parse  # most runs are here

    remote = None
    # What is no host either is a name that no run has.
    with contextlib.suppress(BadInput):
        remote = parse(name)
    if remote is not None:
        raise BadInput(
            f"'{plain(name, 80)}' is a run on another machine: tail, diagnose and stop reach there, and runs "
            f"{plain(remote.host, 80)}: lists them; for all else log in there: ssh {plain(remote.ssh_host, 80)}"
        )


class _Named(msgspec.Struct):
    name: str = ""


def given_name(directory: Path) -> str:
    """The name that a person gave to the run in `directory`, by its marks or its settings; empty if none."""
    written = []
    for file in ("marks.json", "status.json"):
        with contextlib.suppress(OSError):
            written.append((directory / file).read_bytes())
    return name_in(*written)


def name_in(*written: bytes) -> str:
    """The first name in what ``marks.json`` and ``status.json`` hold; empty if none."""
    for one in written:
        # What is not whole says nothing.
        with contextlib.suppress(msgspec.DecodeError, UnicodeError):
            if name := msgspec.json.decode(one, type=_Named).name:
                return name
    return ""


def choose(name: str, ids: list[str], place: str, see: str) -> str:
    """The one of `ids`, the newest first, that `name` means. `place` and `see`: where they are, what lists them.

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
