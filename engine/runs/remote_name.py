"""Parses ``HOST:RUN`` on the command line: a run on another machine, as for scp."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain

# What ssh accepts as [user@]host, an alias of ~/.ssh/config or an IPv6 address in brackets. No shell characters, and
# no leading dash, which ssh would read as an option (also after the user's name).
_HOST = re.compile(
    r"(?:[A-Za-z0-9_.+][A-Za-z0-9_.+-]*@)?(?:\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[A-Za-z0-9_.][A-Za-z0-9_.-]*)"
)
_MAX_RUN = 1000


@dataclass(frozen=True, slots=True)
class RemoteName:
    """A run on another machine, or the machine itself if `run` is empty."""

    host: str
    """As for ssh: ``[user@]host``, or an alias of the user's configuration."""
    run: str
    """A run's name, part of it, ``last``, or a path on that machine."""

    @property
    def ssh_host(self) -> str:
        """The host as an argument of ssh: an IPv6 address without its brackets."""
        return self.host.replace("[", "").replace("]", "")


def parse(text: str) -> RemoteName | None:
    """The remote run that `text` names; None for a local one. Raises BadInput for an invalid host.

    As for scp, a colon makes it remote unless a slash stands before it: ``./odd:name`` is local.
    """
    bracket = text.find("]:") if "[" in text.partition(":")[0] else -1
    colon = bracket + 1 if bracket >= 0 else text.find(":")
    if colon < 0 or "/" in text[:colon]:
        return None
    host, run = text[:colon], text[colon + 1 :]
    if not _HOST.fullmatch(host):
        raise BadInput(
            f"'{plain(host, 80)}' is not a host for ssh: write HOST:RUN or user@HOST:RUN (local path with a colon: ./…)"
        )
    if len(run) > _MAX_RUN or any(not character.isprintable() for character in run):
        raise BadInput(f"'{plain(run, 80)}' cannot be the name of a run on {plain(host, 80)}")
    return RemoteName(host, run)
