"""The setting `hosts`: machines to train on, each as ``[user@]host[:port]`` for ssh. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from gputrain.engine.common.sanitize import plain

FORM = "hosts for ssh, each [user@]host[:port], separated by commas"
# No shell characters, and no leading dash, which ssh would read as an option.
_HOST = re.compile(
    r"(?P<name>(?:[A-Za-z0-9_.+][A-Za-z0-9_.+-]*@)?"
    r"(?:\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[A-Za-z0-9_.][A-Za-z0-9_.-]*))(?::(?P<port>\d{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class Host:
    """One machine, as ssh names it."""

    text: str
    """As in the setting; names the host in messages."""
    ssh_name: str
    """``[user@]host`` as an argument of ssh: an IPv6 address without its brackets."""
    port: int | None
    """None: ssh's own choice."""


def parse_hosts(value: Any) -> str:
    """The setting as text: ``a,b``, from such a text or a list of hosts. Raises ValueError for anything else."""
    words = value
    if isinstance(value, str):
        text = value.strip()
        listed = text.startswith("[") and text.endswith("]") and not _HOST.fullmatch(text)
        words = (text[1:-1] if listed else text).split(",")
    if not isinstance(words, list):
        raise ValueError(FORM)
    hosts = [str(word).strip().strip("'\"") for word in words]
    if hosts == [""]:
        return ""
    for host in hosts:
        found = _HOST.fullmatch(host)
        if found is None or int(found["port"] or 1) not in range(1, 65536):
            raise ValueError(f"{FORM}; '{plain(host, 80)}' is none" if len(hosts) > 1 else FORM)
    if twice := next((host for host in hosts if hosts.count(host) > 1), ""):
        raise ValueError(f"{FORM}, each once; '{plain(twice, 80)}' stands there twice")
    return ",".join(hosts)


def read_hosts(text: str) -> tuple[Host, ...]:
    """The hosts in a checked value of the setting."""
    found = []
    for word in text.split(",") if text else ():
        parts = _HOST.fullmatch(word)
        assert parts is not None, word
        name = parts["name"].replace("[", "").replace("]", "")
        found.append(Host(word, name, int(parts["port"]) if parts["port"] else None))
    return tuple(found)
