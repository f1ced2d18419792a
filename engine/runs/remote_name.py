"""``HOST:RUN`` on the command line: a run on another machine, as for scp."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain

# What ssh itself takes as [user@]host, an alias of ~/.ssh/config or an IPv6 address in brackets. Nothing that
# a shell would read, and no leading dash, which ssh would take for an option (also behind the user's name).
_HOST = re.compile(
    r"(?:[A-Za-z0-9_.+][A-Za-z0-9_.+-]*@)?(?:\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[A-Za-z0-9_.][A-Za-z0-9_.-]*)"
)
_MAX_RUN = 1000


@dataclass(frozen=True, slots=True)
class RemoteName:
    """A run on another machine, or with an empty `run` the machine itself."""

    host: str
    """As ssh takes it: ``[user@]host``, or an alias of the user's configuration."""
    run: str
    """A run's name, part of it, ``last``, or a path on that machine."""

    @property
    def ssh_host(self) -> str:
        """The host as an argument of ssh, which wants an IPv6 address without its brackets."""
        return self.host.replace("[", "").replace("]", "")


def parse(text: str) -> RemoteName | None:
    """The remote run that `text` names; None if it is a local one. Raises BadInput for an impossible host.

    As for scp, a colon makes it remote unless a slash stands before it: ``./odd:name`` is local.
    """
    bracket = text.find("]:") if "[" in text.partition(":")[0] else -1
    colon = bracket + 1 if bracket >= 0 else text.find(":")
    if colon < 0 or "/" in text[:colon]:
        return None
    host, run = text[:colon], text[colon + 1 :]
    if not _HOST.fullmatch(host):
        raise BadInput(
            f"'{plain(host, 80)}' is no host for ssh: write HOST:RUN or user@HOST:RUN (a local path with a colon: ./…)"
        )
    if len(run) > _MAX_RUN or any(not character.isprintable() for character in run):
        raise BadInput(f"'{plain(run, 80)}' cannot be the name of a run on {plain(host, 80)}")
    return RemoteName(host, run)
